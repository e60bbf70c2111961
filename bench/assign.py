"""How fast an assignment is acknowledged as durable, beside plain Celery's `send_task` into the same Redis.

One caller alone gives the latency; sixteen callers in one process give the rate. Celery sends from one process, as fast
as it can; it acknowledges nothing. The two take turns.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from typing import Any

from bench.node import BenchNode, node
from bench.numbers import markdown, percentile
from hivemind_worker.domain.node import Node, NodeState
from hivemind_worker.domain.resources import Amount

ALONE = 1500
CALLERS, EACH, TURNS = 16, 300, 3
SENT = 4000


#: a node that could hold every job and starts none: assignments are checked against it as on a real one
_PLENTY = Amount(millicores=10**6, memory=2**50, disk=2**50, pids=2**30, slots=1000)
LARGE = Node(node="bench", state=NodeState.UP, capacity=_PLENTY, reserve=Amount(), allocatable=_PLENTY)


def spec(task_id: str) -> dict[str, Any]:
    """A small assignment; it is never run."""
    return {"task_id": task_id, "image": "busybox", "command": ["true"], "requests": {"cpu": 0.1}}


def measure() -> dict[str, float]:
    """Milliseconds and calls per second."""
    with node(worker=False, durability="everysec") as here:
        here.stores.ledger.announce(LARGE, worker="nobody", lease_seconds=600)
        loose_alone = percentile(_alone(here), 0.50)
        loose = statistics.median(_together(here.address, turn) for turn in range(TURNS))
    with node(worker=False, durability="always") as here:
        here.stores.ledger.announce(LARGE, worker="nobody", lease_seconds=600)
        alone = _alone(here)
        turns = [(_together(here.address, turn), _celery(here)) for turn in range(TURNS)]
        together, celery = (statistics.median(rates) for rates in zip(*turns, strict=True))
    return {
        "always_to_everysec_p50": percentile(alone, 0.50) / loose_alone,
        "always_to_everysec_rate": together / loose,
        "ack_p50_ms": percentile(alone, 0.50) * 1000,
        "ack_p99_ms": percentile(alone, 0.99) * 1000,
        "ack_mean_ms": statistics.fmean(alone) * 1000,
        "calls_per_s_16_clients": together,
        "celery_send_task_per_s": celery,
        "ratio_to_celery": together / celery,
    }


def _alone(here: BenchNode) -> list[float]:
    from bridge.client import Client

    times = []
    with Client(here.address) as client:
        for i in range(200):
            client.assign(spec(f"warm{i}"))
        for i in range(ALONE):
            start = time.perf_counter()
            client.assign(spec(f"alone{i}"))
            times.append(time.perf_counter() - start)
    return times


def _together(address: str, turn: int) -> float:
    """Calls per second of sixteen callers in one process of their own."""
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    process = context.Process(target=_callers, args=(address, turn, answers))
    process.start()
    rate: float = answers.get(timeout=300)
    process.join()
    return rate


def _callers(address: str, turn: int, answers: Any) -> None:
    import asyncio

    import grpc

    from bridge.wire.hivemind.v1 import task_pb2, task_pb2_grpc

    def request(task_id: str) -> Any:
        assignment = task_pb2.Assignment(
            task_id=task_id, image="busybox", command=["true"], requests=task_pb2.Resources(cpu=0.1)
        )
        return task_pb2.AssignTaskRequest(assignment=assignment)

    async def measure_rate() -> float:
        async with grpc.aio.insecure_channel(address) as channel:
            assign = task_pb2_grpc.TaskServiceStub(channel).AssignTask

            async def caller(number: int, calls: int, kind: str) -> None:
                for i in range(calls):
                    await assign(request(f"{kind}{turn}c{number}i{i}"))

            await asyncio.gather(*[caller(n, 20, "warm") for n in range(CALLERS)])
            start = time.perf_counter()
            await asyncio.gather(*[caller(n, EACH, "call") for n in range(CALLERS)])
            return CALLERS * EACH / (time.perf_counter() - start)

    answers.put(asyncio.run(measure_rate()))


def _celery(here: BenchNode) -> float:
    from celery import Celery

    app = Celery("plain", broker=here.settings.celery_broker)
    app.conf.update(task_ignore_result=True, task_serializer="json")
    for i in range(200):
        app.send_task("plain.job", [spec(f"c{i}")], queue="bench")
    start = time.perf_counter()
    for i in range(SENT):
        app.send_task("plain.job", [spec(f"c{i}")], queue="bench")
    rate = SENT / (time.perf_counter() - start)
    app.close()
    return rate


def table(result: dict[str, float]) -> str:
    """The measurements as a table."""
    rows = [
        ["acknowledged, one caller, p50 (ms)", result["ack_p50_ms"], "≤ 3"],
        ["acknowledged, one caller, p99 (ms)", result["ack_p99_ms"], "≤ 15"],
        ["AssignTask, 16 callers (calls/s)", result["calls_per_s_16_clients"], ""],
        ["Celery send_task, one process (calls/s)", result["celery_send_task_per_s"], ""],
        ["AssignTask : send_task", result["ratio_to_celery"], "≥ 1.0"],
        ["flushed before the answer : once a second, p50", result["always_to_everysec_p50"], ""],
        ["flushed before the answer : once a second, calls/s", result["always_to_everysec_rate"], ""],
    ]
    return markdown("Assignment", ["what", "measured", "aim"], rows)
