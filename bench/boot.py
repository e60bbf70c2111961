"""How long a node takes to work again after everything was killed, with nothing and with 10,000 jobs waiting."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.leaving import leaving, remove_containers
from bench.node import REPOSITORY, child
from bench.numbers import markdown
from hivemind_cli.redis_server import find_server, server_command
from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.assignment import Assignment
from hivemind_worker.domain.errors import StoreUnavailable
from hivemind_worker.execution.sandbox import LABEL_SITE
from hivemind_worker.settings import load_settings
from hivemind_worker.store.jobs import NewJob

WAITING = (0, 10_000)
IMAGE = "localhost/hivemind-busybox:latest"
WORKER = [sys.executable, "-m", "celery", "-A", "hivemind_worker", "worker", "-n", "boot"]


def measure() -> dict[str, Any]:
    """Seconds until Redis has loaded its file, the worker has announced itself, and a job has ended."""
    return {str(count): _boot(count) for count in WAITING}


def _boot(count: int) -> dict[str, float]:
    folder = Path(tempfile.mkdtemp(prefix="hivemind-boot-"))
    settings = load_settings(state=folder / "state", redis_url=f"unix://{folder}/redis.sock", node_id="boot")
    env = {k: v for k, v in os.environ.items() if not k.startswith("HIVEMIND_")} | {
        "HIVEMIND_STATE": str(settings.state), "HIVEMIND_REDIS_URL": settings.redis, "NODE_ID": "boot",
        "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip
    binary = find_server()
    assert binary is not None
    redis = server_command(binary, folder, socket=folder / "redis.sock")
    worker = [*WORKER, "--without-mingle", "--without-gossip"]
    with leaving() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stores = stack.enter_context(closing(open_stores(settings)))
        with child(redis, env, folder / "redis.log") as server:
            _until(lambda: _answers(stores))
            # They fit no machine: what is measured is that they are there, not that they run.
            for start in range(0, count, 500):
                stores.jobs.create_many([_job(f"waits-{start + i}", cpu=4000.0) for i in range(500)])
            with child(worker, env, folder / "worker.log") as before:
                _until(lambda: any(node.workers for node in stores.ledger.nodes()))
                for each in (before, server):
                    each.kill()
                for each in (before, server):
                    each.wait()
        began = time.monotonic()
        stack.enter_context(child(redis, env, folder / "redis.log"))
        loaded = _until(lambda: _answers(stores), began)
        stores.jobs.create(_job("first", cpu=0.1))
        stack.callback(remove_containers, settings, {LABEL_SITE: stores.ledger.site_id()})
        before_it = stores.ledger.heartbeats()
        began = time.monotonic()
        with child(worker, env, folder / "worker.log"):
            announced = _until(lambda: stores.ledger.heartbeats() != before_it, began)
            ended = _until(lambda: stores.jobs.get("first").state.terminal, began)
        assert stores.jobs.counts()["waiting"] == count
        return {"redis_loaded_s": loaded, "announced_s": announced, "first_job_ended_s": ended}


def _job(task_id: str, *, cpu: float) -> NewJob:
    requests = {"cpu": cpu, "memory": 32 << 20, "disk": 1 << 20, "pids": 16}
    fields = {"task_id": task_id, "image": IMAGE, "command": ["true"], "requests": requests, "timeout_seconds": 60.0}
    return NewJob(Assignment.parse(fields), {}, {})


def _answers(stores: Stores) -> bool:
    try:
        return stores.jobs.counts()["known"] >= 0
    except StoreUnavailable:
        return False


def _until(true: Any, began: float = 0.0) -> float:
    pause = threading.Event()
    for _ in range(12_000):
        if true():
            return time.monotonic() - began
        pause.wait(0.01)
    raise RuntimeError("it never came")


def table(result: dict[str, Any]) -> str:
    """The measurements as a table."""
    rows: list[list[Any]] = [
        [f"{int(count):,} waiting", each["redis_loaded_s"], each["announced_s"], each["first_job_ended_s"]]
        for count, each in result.items()
    ]
    sums = [sum(each[key] for key in ("redis_loaded_s", "first_job_ended_s")) for each in result.values()]
    rows.append(["more than empty, in all (aim < 5 s)", "", "", sums[-1] - sums[0]])
    return markdown("Start-up", ["what", "Redis loaded (s)", "announced (s)", "first job ended (s)"], rows)
