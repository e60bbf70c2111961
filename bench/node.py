"""A private node for a benchmark: its own Redis, bridge and worker, in a directory of its own, gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.leaving import leaving, remove_containers
from hivemind_cli.planning import free_port
from hivemind_cli.processes import die_with_parent
from hivemind_cli.redis_server import find_server, server_command
from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.node import NodeState
from hivemind_worker.execution.sandbox import LABEL_SITE
from hivemind_worker.settings import Settings, load_settings
from hivemind_worker.store.wakeups import Ear

REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True)
class BenchNode:
    """What a benchmark talks to."""

    settings: Settings
    stores: Stores
    address: str
    env: dict[str, str]
    folder: Path


@contextmanager
def child(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the length of a block. Ctrl-C is ours alone; should we be killed, the kernel tells it to end."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, env=env, cwd=log.parent, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=die_with_parent(),
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def node(*, worker: bool, durability: str = "", **extra: str) -> Iterator[BenchNode]:
    """Redis with its log on disk as `hivemind up` runs it, a bridge, and a worker when asked for."""
    if durability:
        extra["HIVEMIND_DURABILITY"] = durability
    folder = Path(tempfile.mkdtemp(prefix="hivemind-bench-"))
    port = free_port()
    env = {k: v for k, v in os.environ.items() if not k.startswith("HIVEMIND_")} | {
        "HIVEMIND_STATE": str(folder / "state"), "HIVEMIND_REDIS_URL": f"unix://{folder}/redis.sock",
        "NODE_ID": "bench", "NODE_PORT": str(port), "PYTHONPATH": str(REPOSITORY), **extra,
    }  # fmt: skip
    settings = load_settings(
        state=folder / "state", redis_url=env["HIVEMIND_REDIS_URL"], node_id="bench", bridge_port=port
    )
    binary = find_server()
    assert binary is not None
    listens = folder / "redis.sock"
    redis_command = server_command(binary, folder, socket=listens, durability=durability or settings.durability)
    with leaving() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.enter_context(child(redis_command, env, folder / "redis.log"))
        stores = open_stores(settings)
        stack.callback(stores.close)
        _until(lambda: bool(stores.redis.ping()), "Redis", folder / "redis.log")
        bridge = [sys.executable, "-m", "bridge"]
        stack.enter_context(child(bridge, env, folder / "bridge.log"))
        if worker:
            stack.callback(remove_containers, settings, {LABEL_SITE: stores.ledger.site_id()})
            command = [sys.executable, "-m", "celery", "-A", "hivemind_worker", "worker", "-n", "bench"]
            command += ["--without-mingle", "--without-gossip"]
            stack.enter_context(child(command, env, folder / "worker.log"))
            _until(lambda: any(n.state is NodeState.UP for n in stores.ledger.nodes()), "worker", folder / "worker.log")
        _until(lambda: _listens(port), "bridge", folder / "bridge.log")
        yield BenchNode(settings, stores, f"127.0.0.1:{port}", env, folder)


@contextmanager
def detached(folder: Path, env: dict[str, str]) -> Iterator[None]:
    """`hivemind up` in a directory of its own, which goes with it."""
    hivemind = [sys.executable, "-m", "hivemind_cli"]
    with leaving() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        # Also for one that an interruption leaves half up; jobs first, for a container outlives its node.
        down = [*hivemind, "down", "--stop-jobs", "--grace", "0"]
        stack.callback(subprocess.run, down, env=env, check=True, stdout=sys.stderr)
        subprocess.run([*hivemind, "up", "--detach"], env=env, check=True, stdout=sys.stderr)
        yield


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _until(done: object, what: str, log: Path) -> None:
    import threading

    pause = threading.Event()
    for _ in range(300):
        try:
            if callable(done) and done():
                return
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not up yet
            last = error
        pause.wait(0.1)
    raise RuntimeError(f"{what} did not come up: {log.read_text()[-2000:]} {locals().get('last', '')}")


def until_ended(stores: Stores, count: int, timeout: float = 600) -> None:
    """Wait until so many jobs have ended, told by the node's wake channel."""
    ear = Ear(stores.redis, [stores.keys.wake])
    for _ in range(int(timeout)):
        counts = stores.jobs.counts()
        if counts["known"] - counts["active"] >= count:
            ear.close()
            return
        ear.listen(1.0)
    raise RuntimeError(f"jobs did not end: {stores.jobs.counts()}")
