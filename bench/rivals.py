"""What people use today, as they write it: raw calls to Docker's HTTP API, and Celery with docker-py."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from celery import Celery

SOCKET = "/var/run/docker.sock"
#: marks the rivals' containers of one run, the sender's and its worker's alike
LABEL, RUN = "hivemind.bench", "BENCH_RUN"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the engine's socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(SOCKET)


def _call(connection: UnixConnection, method: str, path: str, body: object = None) -> dict[str, object]:
    data = None if body is None else json.dumps(body)
    connection.request(method, f"/v1.41{path}", data, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 400:
        raise RuntimeError(f"{method} {path}: {answer.status} {text!r}")
    return json.loads(text) if text else {}


def labels() -> dict[str, str]:
    """Those of this run."""
    return {LABEL: os.environ.get(RUN, str(os.getpid()))}


def raw_job(connection: UnixConnection, image: str, command: Sequence[str]) -> float:
    """Create, start, wait, remove: seconds until the exit is known. The removal is not part of it."""
    spec = {
        "Image": image, "Cmd": list(command), "Labels": labels(),
        "HostConfig": {"NetworkMode": "none", "NanoCpus": 200_000_000, "Memory": 64 << 20, "MemorySwap": 64 << 20},
    }  # fmt: skip
    start = time.perf_counter()
    made = _call(connection, "POST", "/containers/create", spec)
    name = made["Id"]
    _call(connection, "POST", f"/containers/{name}/start")
    _call(connection, "POST", f"/containers/{name}/wait")
    elapsed = time.perf_counter() - start
    _call(connection, "DELETE", f"/containers/{name}")
    return elapsed


def raw_many(image: str, commands: Sequence[Sequence[str]], width: int) -> float:
    """Jobs per second with `width` threads, each with a connection of its own."""
    local = threading.local()

    def one(command: Sequence[str]) -> None:
        if not hasattr(local, "connection"):
            local.connection = UnixConnection("localhost")
        raw_job(local.connection, image, command)

    start = time.perf_counter()
    pool = ThreadPoolExecutor(width)
    try:
        list(pool.map(one, commands))
    finally:
        pool.shutdown(cancel_futures=True)
    return len(commands) / (time.perf_counter() - start)


plain = Celery("bench.rivals", broker=os.environ.get("BENCH_BROKER", "memory://"))
plain.conf.update(
    task_serializer="json", accept_content=["json"], worker_prefetch_multiplier=1, task_acks_late=True,
    broker_connection_retry_on_startup=True, result_backend=os.environ.get("BENCH_BACKEND"),
)  # fmt: skip


@plain.task(name="plain.run")  # type: ignore[untyped-decorator]
def run(image: str, command: list[str]) -> int:
    """The usual glue: `containers.run(detach=True)`, then wait, logs, remove."""
    import docker

    client = docker.from_env()
    try:
        container = client.containers.run(
            image, command, detach=True, network_mode="none", nano_cpus=200_000_000, mem_limit="64m",
            memswap_limit="64m", labels=labels(),
        )  # fmt: skip
        try:
            code = container.wait()["StatusCode"]
            container.logs()
            return int(code)
        finally:
            container.remove()
    finally:
        client.close()


def worker_command(width: int) -> list[str]:
    """The rival's worker with the pool that suits waiting best."""
    return [
        sys.executable, "-m", "celery", "-A", "bench.rivals:plain", "worker", "-P", "threads", "-c", str(width),
        "-n", "rival", "--without-mingle", "--without-gossip", "-Q", "rival", "-l", "WARNING",
    ]  # fmt: skip


def worker_env(env: dict[str, str], folder: Path) -> dict[str, str]:
    """The same Redis server, another database."""
    return env | {
        RUN: labels()[LABEL],
        "BENCH_BROKER": f"redis+socket://{folder}/redis.sock?virtual_host=5",
        "BENCH_BACKEND": f"redis+socket://{folder}/redis.sock?virtual_host=5",
    }
