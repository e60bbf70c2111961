"""What an idle node costs: memory (PSS) and CPU of `hivemind up` without Flower, process by process."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil

from bench.node import REPOSITORY, detached
from bench.numbers import markdown
from hivemind_cli.planning import free_port

WATCHED_SECONDS = 30.0


def measure() -> dict[str, Any]:
    """Bytes of PSS and per cent of one core."""
    folder = Path(tempfile.mkdtemp(prefix="hivemind-idle-"))
    env = {k: v for k, v in os.environ.items() if not k.startswith("HIVEMIND_")} | {
        "HIVEMIND_STATE": str(folder), "NODE_PORT": str(free_port()), "FLASK_PORT": str(free_port()),
        "HIVEMIND_FLOWER_ENABLED": "false", "NODE_ID": "idle", "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip
    with detached(folder, env):
        node = json.loads((folder / "node.json").read_text())
        processes = _family(int(node["pid"]))
        before = {process.pid: sum(process.cpu_times()[:2]) for process in processes}
        threading.Event().wait(WATCHED_SECONDS)
        return _account(processes, before)


def _family(pid: int) -> list[psutil.Process]:
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]


def _account(processes: list[psutil.Process], before: dict[int, float]) -> dict[str, Any]:
    rows = []
    for process in processes:
        used = sum(process.cpu_times()[:2]) - before[process.pid]
        rows.append(
            {
                "process": _name(process),
                "pss": process.memory_full_info().pss,
                "cpu_percent": used / WATCHED_SECONDS * 100,
            }
        )
    return {
        "processes": rows,
        "pss": sum(row["pss"] for row in rows),
        "cpu_percent": sum(row["cpu_percent"] for row in rows),
    }


def _name(process: psutil.Process) -> str:
    words = " ".join(process.cmdline())
    marks = {
        "valkey-server": "Redis", "-m bridge": "bridge", "hivemind_worker.monitor": "status API",
        "hivemind_worker worker": "worker", "hivemind_cli": "supervisor",
    }  # fmt: skip
    return next((name for mark, name in marks.items() if mark in words), process.name())


def table(result: dict[str, Any]) -> str:
    """The measurements as a table."""
    rows = [[row["process"], row["pss"] / 1e6, row["cpu_percent"]] for row in result["processes"]]
    rows.append(["whole node", result["pss"] / 1e6, result["cpu_percent"]])
    rows.append(["aim", "< 250", "< 1"])
    return markdown("Idle node without Flower", ["process", "PSS (MB)", "CPU (% of a core)"], rows)
