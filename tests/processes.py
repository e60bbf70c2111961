"""Real processes for tests: started with their own settings, waited for by what they do, ended by their id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import Job, State
from hivemind_worker.domain.node import NodeState
from hivemind_worker.settings import Settings
from hivemind_worker.store.wakeups import Ear

REPOSITORY = Path(__file__).parent.parent


def environment(settings: Settings, **extra: str) -> dict[str, str]:
    """The process' environment without the developer's settings, with this node's."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HIVEMIND_")}
    named = {"HIVEMIND_STATE": str(settings.state), "HIVEMIND_REDIS_URL": settings.redis, "NODE_ID": settings.node_id}
    return clean | named | {"PYTHONPATH": str(REPOSITORY), "PYTHONWARNINGS": "default"} | extra


@contextmanager
def process(command: Sequence[str], env: Mapping[str, str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with its output in a file; whatever happens, it is gone afterwards."""
    with output.open("ab") as file:
        child = subprocess.Popen(command, env=dict(env), stdout=file, stderr=subprocess.STDOUT, cwd=output.parent)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(10)


def worker_command(name: str = "w1") -> list[str]:
    """The README's worker, with a name of its own."""
    return [sys.executable, "-m", "celery", "-A", "hivemind_worker", "worker", "-n", name]


@contextmanager
def worker(
    settings: Settings, stores: Stores, output: Path, name: str = "w1", **extra: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that has announced itself."""
    with process(worker_command(name), environment(settings, **extra), output) as child:
        until_up(stores, settings.node_id, child, output)
        yield child


def until_up(stores: Stores, node: str, child: subprocess.Popen[bytes], output: Path, timeout: float = 30) -> None:
    """Wait until the node has announced itself; a worker that died says why."""
    ear = Ear(stores.redis, ["__nothing__"])
    for _ in range(int(timeout / 0.1)):
        if any(known.node == node and known.state is not NodeState.DOWN for known in stores.ledger.nodes()):
            ear.close()
            return
        assert child.poll() is None, output.read_text()
        ear.listen(0.1)
    raise AssertionError(f"the worker did not come up:\n{output.read_text()}")


def until(stores: Stores, task_id: str, *states: State, timeout: float = 60) -> Job:
    """Wait, told by the job's own channel, until it is in one of these states (default: has ended)."""
    wanted = set(states) or {State.COMPLETED, State.FAILED, State.STOPPED}
    ear = Ear(stores.redis, [stores.keys.changes(task_id)])
    try:
        end = time.monotonic() + timeout  # a job that prints much is told of often
        while time.monotonic() < end:
            job = stores.jobs.get(task_id)
            if job.state in wanted:
                return job
            assert not job.state.terminal, f"{task_id} ended instead: {job.outcome}"
            ear.listen(1.0)
    finally:
        ear.close()
    raise AssertionError(f"{task_id} is {stores.jobs.get(task_id)} after {timeout} s")


def eventually(true: Callable[[], object], timeout: float = 30, what: str = "it") -> None:
    """Wait for a thing that nobody announces; the deadline is there for the day it never comes."""
    assert came_true(true, timeout), f"{what} never came true within {timeout} s"


def came_true(true: Callable[[], object], timeout: float, every: float = 0.02) -> bool:
    """Look for a thing that nobody announces, every so many seconds; whether it was there in time."""
    pause, end = threading.Event(), time.monotonic() + timeout
    while not true():
        if time.monotonic() >= end:
            return False
        pause.wait(every)
    return True
