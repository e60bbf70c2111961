"""How long a node goes without a worker after `kill -9`: from the kill until a job that came meanwhile is claimed."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.node import REPOSITORY, detached
from bench.numbers import markdown, percentile
from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.assignment import Assignment
from hivemind_worker.domain.job import State
from hivemind_worker.settings import load_settings
from hivemind_worker.store.jobs import NewJob

KILLS = 20
IMAGE = "localhost/hivemind-busybox:latest"


def measure() -> dict[str, Any]:
    """Seconds for each of KILLS kills of one supervised worker, and until each part leaves when told to."""
    folder = Path(tempfile.mkdtemp(prefix="hivemind-kills-"))
    env = {k: v for k, v in os.environ.items() if not k.startswith("HIVEMIND_")} | {
        "HIVEMIND_STATE": str(folder), "HIVEMIND_BRIDGE_PORT": "0", "HIVEMIND_API_PORT": "0",
        "HIVEMIND_FLOWER_ENABLED": "false", "NODE_ID": "kills", "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip
    with detached(folder, env):
        with closing(open_stores(load_settings(state=folder, node_id="kills"))) as stores:
            waits = [_kill(stores, folder, number) for number in range(KILLS)]
        return {"kills": waits, "leaves": {name: _leave(folder, name) for name in ("api", "bridge", "worker", "node")}}


def _kill(stores: Stores, folder: Path, number: int) -> float:
    task_id = f"kill-{number}"
    began = time.monotonic()
    os.kill(_pid(folder, "worker"), signal.SIGKILL)
    requests = {"cpu": 0.1, "memory": 32 << 20, "disk": 1 << 20, "pids": 16}
    spec = Assignment.parse(
        {"task_id": task_id, "image": IMAGE, "command": ["true"], "requests": requests, "timeout_seconds": 60.0}
    )
    stores.jobs.create(NewJob(spec, {}, {}))
    _until(lambda: stores.jobs.get(task_id).state not in (State.WAITING, State.ADMITTED))
    took = time.monotonic() - began
    _until(lambda: stores.jobs.get(task_id).state.terminal and _ready(folder))
    threading.Event().wait(6.0)  # it has settled: a kill now is the first of its kind
    return took


def _leave(folder: Path, name: str) -> float:
    """Seconds from SIGTERM to the end of one process; of the supervisor for 'node'."""
    pid = json.loads((folder / "node.json").read_text())["pid"] if name == "node" else _pid(folder, name)
    began = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    _until(lambda: not Path(f"/proc/{pid}/exe").exists())
    took = time.monotonic() - began
    if name != "node":
        _until(lambda: _pid(folder, name) != pid and _ready(folder))
    return took


def _services(folder: Path) -> list[dict[str, Any]]:
    services: list[dict[str, Any]] = json.loads((folder / "node.json").read_text())["services"]
    return services


def _ready(folder: Path) -> bool:
    return all(one["ready"] for one in _services(folder))


def _pid(folder: Path, name: str) -> int:
    return next(one["pid"] or 0 for one in _services(folder) if one["name"] == name)


def _until(true: Any) -> None:
    pause = threading.Event()
    while not true():
        pause.wait(0.005)


def table(result: dict[str, Any]) -> str:
    """The measurements as a table."""
    waits = result["kills"]
    rows: list[list[object]] = [
        ["kill -9 → next job claimed, p50", percentile(waits, 0.5), ""],
        ["kill -9 → next job claimed, p95", percentile(waits, 0.95), "≤ 5"],
        *([f"SIGTERM → {name} has left", took, "≤ 2"] for name, took in result["leaves"].items()),
    ]
    return markdown(f"Killed {len(waits)} times, and told to leave", ["what", "seconds", "aim"], rows)
