"""How fast whole jobs go, beside raw Docker HTTP calls and a plain Celery + docker-py worker, network mode `none`.

Every contender runs the same commands in the same image with the same caps, eight at a time. Instant jobs (`true`) show
the overhead per job; timed ones (0.2 to 1.2 s) show polling. One job at a time shows the added latency. The three
contenders take turns, twice each, so that the machine's moods fall on all of them.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from bench.leaving import leaving, remove_containers
from bench.node import BenchNode, child, node, until_ended
from bench.numbers import markdown, percentile
from bench.rivals import UnixConnection, labels, raw_job, raw_many, worker_command, worker_env

IMAGE = "localhost/hivemind-busybox:latest"
WIDTH = 8
INSTANT, TIMED, ALONE = 96, 64, 40
REQUEST = {"cpu": 0.2, "memory": 64 << 20, "disk": 1 << 20, "pids": 64}

Commands = Sequence[Sequence[str]]


def measure() -> dict[str, Any]:
    """Jobs per second and milliseconds, per contender."""
    instant: Commands = [["true"]] * INSTANT
    draw = random.Random(7)
    timed: Commands = [["sleep", f"{draw.uniform(0.2, 1.2):.3f}"] for _ in range(TIMED)]
    with node(worker=True, MAX_CONCURRENT_TASKS=str(WIDTH), MAX_CPU_CORES=str(WIDTH)) as here, leaving() as stack:
        stack.callback(remove_containers, here.settings, labels())
        env = worker_env(here.env, here.folder)
        with child(worker_command(WIDTH), env, here.folder / "rival.log"):
            contenders: dict[str, Callable[[Commands], float]] = {
                "raw": lambda commands: raw_many(IMAGE, commands, WIDTH),
                "hivemind": lambda commands: _hivemind(here, commands),
                "celery_docker_py": lambda commands: _rival(env, commands),
            }
            for contender in contenders.values():
                contender([["true"]] * WIDTH)
            result = {
                "instant": _turns(contenders, instant),
                "timed": _turns(contenders, timed),
                "alone_ms": _alone(here, env),
            }
    result["ratios"] = _ratios(result)
    return result


def _turns(contenders: dict[str, Callable[[Commands], float]], commands: Commands) -> dict[str, float]:
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in (list(contenders), list(reversed(contenders))):
        for name in turn:
            rates[name].append(contenders[name](commands))
    return {name: statistics.fmean(values) for name, values in rates.items()}


def _hivemind(here: BenchNode, commands: Commands) -> float:
    from bridge.client import Client

    prefix = f"b{time.monotonic_ns()}"
    counts = here.stores.jobs.counts()
    ended = counts["known"] - counts["active"]
    start = time.perf_counter()
    with Client(here.address) as client:
        for i, command in enumerate(commands):
            client.assign({"task_id": f"{prefix}-{i}", "image": IMAGE, "command": list(command), "requests": REQUEST})
        until_ended(here.stores, ended + len(commands))
    rate = len(commands) / (time.perf_counter() - start)
    for i in range(len(commands)):
        job = here.stores.jobs.get(f"{prefix}-{i}")
        if job.state.value != "completed":
            raise RuntimeError(f"{job.task_id}: {job.outcome}")
    return rate


def _rival(env: dict[str, str], commands: Commands) -> float:
    from celery import Celery

    app = Celery("sender", broker=env["BENCH_BROKER"], backend=env["BENCH_BACKEND"])
    start = time.perf_counter()
    sent = [app.send_task("plain.run", [IMAGE, list(command)], queue="rival") for command in commands]
    codes = [each.get(timeout=300) for each in sent]
    rate = len(commands) / (time.perf_counter() - start)
    app.close()
    if any(codes):
        raise RuntimeError(f"the rival's jobs failed: {codes}")
    return rate


def _alone(here: BenchNode, env: dict[str, str]) -> dict[str, float]:
    """Median milliseconds from handing over one job to knowing its end; the contenders take turns job by job."""
    from celery import Celery

    from bridge.client import Client

    connection = UnixConnection("localhost")
    app = Celery("sender", broker=env["BENCH_BROKER"], backend=env["BENCH_BACKEND"])
    times: dict[str, list[float]] = {"raw": [], "hivemind": [], "celery_docker_py": []}
    with Client(here.address) as client:
        for i in range(ALONE):
            times["raw"].append(raw_job(connection, IMAGE, ["true"]))
            start = time.perf_counter()
            task_id = f"alone-{os.getpid()}-{i}"
            client.assign({"task_id": task_id, "image": IMAGE, "command": ["true"], "requests": REQUEST})
            for seen in client.watch(task_id):
                if seen["state"] in ("completed", "failed", "stopped"):
                    break
            times["hivemind"].append(time.perf_counter() - start)
            start = time.perf_counter()
            app.send_task("plain.run", [IMAGE, ["true"]], queue="rival").get(timeout=60)
            times["celery_docker_py"].append(time.perf_counter() - start)
    app.close()
    return {name: percentile(values, 0.5) * 1000 for name, values in times.items()}


def _ratios(result: dict[str, Any]) -> dict[str, float]:
    return {
        "instant_to_raw": result["instant"]["hivemind"] / result["instant"]["raw"],
        "instant_to_celery": result["instant"]["hivemind"] / result["instant"]["celery_docker_py"],
        "timed_to_raw": result["timed"]["hivemind"] / result["timed"]["raw"],
        "timed_to_celery": result["timed"]["hivemind"] / result["timed"]["celery_docker_py"],
        "added_ms_p50": result["alone_ms"]["hivemind"] - result["alone_ms"]["raw"],
    }


def table(result: dict[str, Any]) -> str:
    """The measurements as a table."""
    rows: list[list[object]] = []
    for name, label in (
        ("raw", "raw Docker HTTP"), ("hivemind", "HiveMind, whole path"), ("celery_docker_py", "Celery + docker-py")
    ):  # fmt: skip
        rows.append([label, result["instant"][name], result["timed"][name], result["alone_ms"][name]])
    ratios = result["ratios"]
    rows.append(["HiveMind : raw", ratios["instant_to_raw"], ratios["timed_to_raw"], f"+{ratios['added_ms_p50']:.1f}"])
    rows.append(["HiveMind : Celery + docker-py", ratios["instant_to_celery"], ratios["timed_to_celery"], ""])
    rows.append(["aim", "≥ 0.95 × raw", "≥ 0.95 × raw", "≤ +20 over raw"])
    head = ["contender", "`true`, jobs/s at 8", "0.2–1.2 s, jobs/s at 8", "one at a time, p50 (ms)"]
    return markdown("Whole jobs", head, rows)
