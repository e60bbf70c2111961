"""How fast admission decides: the plan alone, and the production round over a real Redis with up to 100,000 waiting."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.node import _until, child
from bench.numbers import markdown, percentile
from bench.replay import machine
from hivemind_cli.redis_server import find_server, server_command
from hivemind_worker.admission.admitter import Admitter
from hivemind_worker.admission.policy import plan
from hivemind_worker.admission.rules import Place, Rules
from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.assignment import Assignment
from hivemind_worker.domain.line import Candidate
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.resources import GIB, MIB, Amount, Request
from hivemind_worker.settings import load_settings
from hivemind_worker.store.jobs import NewJob

WAITING = 1_000
CROWD = 100_000
ROUNDS = 300
SLOTS = 64


def measure() -> dict[str, Any]:
    """Decisions a second, and ms a round."""
    result: dict[str, Any] = {"plan, decisions/s": _plans()}
    for name, lines, waiting in (
        ("round, 1,000 waiting in 20 lines", 20, WAITING),
        ("round, 100,000 waiting in 20 lines", 20, CROWD),
        ("round, 100,000 waiting in 20,000 lines", 20_000, CROWD),
    ):
        with _redis() as stores:
            result[name] = _rounds(stores, lines, waiting)
    return result


def table(result: dict[str, Any]) -> str:
    """For docs/admission.md."""
    rows = [["the plan alone, 1,000 waiting", f"{result['plan, decisions/s']:.0f}", "", ""]]
    rows += [
        [name, f"{found['decisions/s']:.0f}", f"{found['p50']:.1f}", f"{found['p99']:.1f}"]
        for name, found in result.items()
        if isinstance(found, dict)
    ]
    return markdown("Admission's speed", ["what", "decisions/s", "ms p50", "ms p99"], rows)


def _plans() -> float:
    """The policy over a thousand waiting jobs of many sizes: started jobs a second."""
    node, line = machine(SLOTS), [_candidate(number) for number in range(WAITING)]
    started, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < 3.0:
        started += len(plan(line, [Place(node, {})], worker="w", now=0, reasons=False).claims)
    return started / (time.perf_counter() - begun)


def _request(number: int) -> Request:
    return Request(cpu=1.0 + number % 4, memory=64 * MIB, disk=MIB, pids=16)


def _candidate(number: int) -> Candidate:
    shape = _request(number).shape
    return Candidate(str(number), shape, number, 1, number, 600.0 + number % 7, predicted=float(number % 500))


def _rounds(stores: Stores, lines: int, waiting: int) -> dict[str, float]:
    """Full rounds on a node of which a part is free each time: look, plan, reserve."""
    _fill(stores, lines, waiting)
    node = machine(SLOTS).model_copy(update={"node": "n1"})
    lent = Amount(
        millicores=SLOTS * 1000, spare=SLOTS * 1000, memory=64 * GIB, disk=64 * GIB, pids=100_000, slots=SLOTS
    )
    stores.ledger.announce(node.model_copy(update={"allocatable": lent}), worker="w1", lease_seconds=3600)
    begun: list[tuple[str, int]] = []
    admitter = Admitter(
        stores.ledger,
        node="n1",
        worker="w1",
        rules=Rules(),
        hint=lambda *attempt: begun.append(attempt),
    )
    times, running = [], list[tuple[str, int]]()
    for _ in range(ROUNDS):
        stores.redis.hset(stores.keys.node("n1"), mapping=_alive(stores))
        at = time.perf_counter()
        admitter.once()
        times.append(1000 * (time.perf_counter() - at))
        running += begun
        begun.clear()
        for task_id, attempt in running[:8]:
            job = stores.jobs.claim(task_id, attempt, node="n1", worker="w1")
            stores.jobs.finish(job, Outcome(cause=Cause.OK))
        running = running[8:]
        admitter.forget_nodes()
    admitted = ROUNDS * 8
    return {"p50": percentile(times, 0.5), "p99": percentile(times, 0.99), "decisions/s": admitted / sum(times) * 1000}


def _alive(stores: Stores) -> dict[Any, int]:
    now = stores.ledger.now_ms()
    return {"heartbeat": now, "worker:w1": now}


def _fill(stores: Stores, lines: int, waiting: int) -> None:
    batch: list[NewJob] = []
    for number in range(waiting):
        spec = Assignment(
            task_id=f"j{number}",
            image="busybox",
            command=(f"./program{number % lines}",),
            requests=_request(number % lines),
            timeout_seconds=600.0,
        )
        batch.append(NewJob(spec, {}, {"task_id": spec.task_id}))
        if len(batch) == 1000 or number == waiting - 1:
            for answer in stores.jobs.create_many(batch):
                if isinstance(answer, Exception):
                    raise answer
            batch.clear()


@contextmanager
def _redis() -> Iterator[Stores]:
    """A Redis of the benchmark's own, as `hivemind up` runs it."""
    folder = Path(tempfile.mkdtemp(prefix="hivemind-bench-"))
    binary = find_server()
    assert binary is not None
    settings = load_settings(state=folder / "state", redis_url=f"unix://{folder}/redis.sock", node_id="n1")
    command = server_command(binary, folder, socket=folder / "redis.sock", durability=settings.durability)
    try:
        with child(command, dict(os.environ), folder / "redis.log"):
            stores = open_stores(settings)
            try:
                _until(lambda: bool(stores.redis.ping()), "Redis", folder / "redis.log")
                yield stores
            finally:
                stores.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
