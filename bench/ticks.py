"""How fast admission decides: the plan alone, and the production round over a real Redis with up to 100,000 waiting."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
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
from hivemind_worker.domain.node import Reservation
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.resources import GIB, MIB, Amount, Request
from hivemind_worker.settings import load_settings
from hivemind_worker.store.hints import HintQueue
from hivemind_worker.store.jobs import NewJob

WAITING = 1_000
CROWD = 100_000
ROUNDS = 300
SLOTS = 64
#: rounds before the clock runs: the first admits a whole node full and teaches Redis the scripts
WARMING = 3
#: plans on a node that stays full: shapes of those that wait, jobs that end between two plans, rules
BUSY = tuple(
    (shapes, ended, rules)
    for rules in (Rules(), Rules(weights={"owner0": 1.0, "owner1": 3.0}))
    for shapes in (20, 1000)
    for ended in (1, 3)
)
#: seconds between two heartbeats, as a worker makes them
BEAT = 2.0
#: about what a hint has
HINT_BYTES = 900


def measure() -> dict[str, Any]:
    """Decisions a second, and ms a round."""
    result: dict[str, Any] = {"plan, decisions/s": _plans()}
    for shapes, ended, rules in BUSY:
        name = f"the plan on a full node, {ended} ended, 1,000 waiting in {shapes:,} shapes"
        result[f"{name}, with shares" if rules.weights else name] = _busy(shapes, ended, rules)
    for name, lines, waiting, ended in (
        ("round after 8 ends, 1,000 waiting in 20 lines", 20, WAITING, 8),
        ("round after 64 ends, 1,000 waiting in 20 lines", 20, WAITING, 64),
        ("round after 8 ends, 100,000 waiting in 20 lines", 20, CROWD, 8),
        ("round after 8 ends, 100,000 waiting in 20,000 lines", 20_000, CROWD, 8),
    ):
        with _redis() as stores:
            result[name] = _rounds(stores, lines, waiting, ended)
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


def _busy(shapes: int, ended: int, rules: Rules) -> dict[str, float]:
    """The policy on a node that is full but for what has ended since the last plan; the line is filled up again."""
    node, now, made = machine(SLOTS), 2_000_000, WAITING
    waiting = {str(number): _owned(number, shapes) for number in range(WAITING)}
    rows: dict[str, Reservation] = {}
    promise, times, started = None, list[float](), 0
    for number in range(-WARMING, ROUNDS):
        line = list(waiting.values())
        at = time.perf_counter()
        found = plan(line, [Place(node, rows)], worker="w", now=now, rules=rules, promise=promise, reasons=False)
        if number >= 0:
            times.append(1000 * (time.perf_counter() - at))
            started += len(found.claims)
        promise, now = found.promise, now + 1000
        for claim in found.claims:
            rows[claim.task_id] = claim.row
            del waiting[claim.task_id]
            waiting[str(made)] = _owned(made, shapes)
            made += 1
        for task_id in list(rows)[:ended]:
            del rows[task_id]
    return {
        "p50": percentile(times, 0.5),
        "p99": percentile(times, 0.99),
        "decisions/s": 1000 * started / sum(times),
    }


def _owned(number: int, shapes: int) -> Candidate:
    """One of eight owners' jobs, of one of so many shapes."""
    request = _request(number).model_copy(update={"memory": 64 * MIB + number % shapes * 4096})
    created = 1000 * number
    return replace(_candidate(number), shape=request.shape, rank=created, created=created, owner=f"owner{number % 8}")


def _request(number: int) -> Request:
    return Request(cpu=1.0 + number % 4, memory=64 * MIB, disk=MIB, pids=16)


def _candidate(number: int) -> Candidate:
    shape = _request(number).shape
    return Candidate(str(number), shape, number, 1, number, 600.0 + number % 7, predicted=float(number % 500))


def _rounds(stores: Stores, lines: int, waiting: int, ended: int = 8) -> dict[str, float]:
    """Full rounds on a node that was full and on which `ended` jobs have ended since: look, plan, reserve.

    The line is filled up again between rounds. As in a worker, nodes are looked at anew with each beat.
    """
    crowd = _Crowd(stores, lines)
    crowd.add(waiting)
    node = machine(SLOTS).model_copy(update={"node": "n1"})
    lent = Amount(
        millicores=SLOTS * 4000, spare=SLOTS * 4000, memory=64 * GIB, disk=64 * GIB, pids=100_000, slots=SLOTS
    )
    here = node.model_copy(update={"allocatable": lent})
    begun: list[tuple[str, int]] = []
    admitter = Admitter(
        stores.ledger,
        node="n1",
        worker="w1",
        rules=Rules(),
        queue=HintQueue("ticks", lambda *_: "x" * HINT_BYTES),
        hinted=lambda *attempt: begun.append(attempt),
    )
    times, admitted, running, next_beat = [], 0, list[tuple[str, int]](), 0.0
    for number in range(-WARMING, ROUNDS):
        if time.monotonic() >= next_beat:
            stores.ledger.announce(here, worker="w1", lease_seconds=3600)
            admitter.forget_nodes()
            next_beat = time.monotonic() + BEAT
        at = time.perf_counter()
        admitter.once()
        took = 1000 * (time.perf_counter() - at)
        if number >= 0:
            times.append(took)
            admitted += len(begun)
        crowd.add(len(begun))
        running += begun
        begun.clear()
        for task_id, attempt in running[:ended]:
            job = stores.jobs.claim(task_id, attempt, node="n1", worker="w1")
            stores.jobs.finish(job, Outcome(cause=Cause.OK))
        running = running[ended:]
    return {"p50": percentile(times, 0.5), "p99": percentile(times, 0.99), "decisions/s": admitted / sum(times) * 1000}


class _Crowd:
    """Jobs that wait, in so many lines."""

    def __init__(self, stores: Stores, lines: int) -> None:
        self._stores, self._lines, self._made = stores, lines, 0

    def add(self, count: int) -> None:
        """More of them."""
        specs = [self._spec(number) for number in range(self._made, self._made + count)]
        self._made += count
        for at in range(0, count, 1000):
            batch = [NewJob(spec, {}, {"task_id": spec.task_id}) for spec in specs[at : at + 1000]]
            for answer in self._stores.jobs.create_many(batch):
                if isinstance(answer, Exception):
                    raise answer

    def _spec(self, number: int) -> Assignment:
        line = number % self._lines
        return Assignment(
            task_id=f"j{number}",
            image="busybox",
            command=(f"./program{line}",),
            requests=_request(line),
            timeout_seconds=600.0,
        )


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
