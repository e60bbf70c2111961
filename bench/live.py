"""A real node under small and node-filling jobs mixed: caps, promises and idle slots, watched from the engine."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from bench.entry import ending, remark, say
from bench.node import BenchNode, node
from bench.numbers import markdown, percentile
from bench.witness import EngineEye, Promised, Samples, glance, look, look_at_line, note, watching
from bridge.client import Client
from hivemind_worker.admission.rules import Rules
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import Job, State
from hivemind_worker.domain.node import Node
from hivemind_worker.domain.resources import MIB
from hivemind_worker.execution.engine import Engine

IMAGE = "localhost/hivemind-busybox:latest"
SMALL, LARGE, ALONE = 1_000, 20, 40
SLOTS = 8
#: seconds between two looks at the engine and at the line, and between two at the promise
EVERY, GLANCE = 0.1, 0.02
#: seconds without a single end after which the node is taken to be stuck
STUCK = 180.0


@dataclass(frozen=True, slots=True)
class Mix:
    """How many jobs of each kind: small ones, node-filling ones, and ones that come to an idle node one by one."""

    small: int = SMALL
    large: int = LARGE
    alone: int = ALONE
    seed: int = 7
    #: how many times longer the jobs' limits are
    patience: float = 1.0


def measure(mix: Mix = Mix()) -> dict[str, Any]:
    """Counts, shares and milliseconds; `exceeded` and `broken` list what must not be."""
    load = os.getloadavg()[0]
    with node(worker=True, MAX_CONCURRENT_TASKS=str(SLOTS), MAX_CPU_CORES=str(SLOTS), MAX_MEMORY_GB="1") as here:
        (place,) = here.stores.ledger.nodes()
        alone = _alone(here, mix.alone) if mix.alone else {}
        result = _crowd(here, place, mix) | {"alone": alone}
        said = (here.folder / "worker.log").read_text(errors="replace").count("a promise could not be kept")
    return result | {"promises_the_node_broke": said, "load_before": load, "machine_cores": os.cpu_count()}


def failures(result: dict[str, Any]) -> list[str]:
    """What the run shows that may not be, one line each."""
    return [*result["exceeded"], *result["broken"], *result["failed"]]


# --- the crowd ------------------------------------------------------------------------------------------------


def specs(place: Node, mix: Mix) -> list[dict[str, Any]]:
    """The jobs in the order they come: node-filling ones strewn among small ones. None runs for nearly its limit."""
    draw, lent = random.Random(mix.seed), place.allocatable
    jobs = [
        {
            "task_id": f"small-{number}",
            "command": ["sleep", f"{draw.uniform(0.05, 0.8):.2f}"],
            "requests": _request(
                lent.millicores // draw.choice((SLOTS, SLOTS, SLOTS // 2)), lent.memory // draw.choice((32, 16, 6))
            ),
            "timeout_seconds": mix.patience * draw.choice((6.0, 8.0, 12.0)),
        }
        for number in range(mix.small)
    ]
    for number in range(mix.large):
        spec = {
            "task_id": f"large-{number}",
            "command": ["sleep", "1"],
            "requests": _request(lent.millicores, lent.memory),
            "timeout_seconds": mix.patience * 15.0,
        }
        jobs.insert(draw.randrange(len(jobs) + 1), spec)
    return [{"image": IMAGE, **spec} for spec in jobs]


def _request(millicores: int, memory: int) -> dict[str, Any]:
    return {"cpu": millicores / 1000, "memory": memory, "disk": MIB, "pids": 16}


def _crowd(here: BenchNode, place: Node, mix: Mix) -> dict[str, Any]:
    jobs = specs(place, mix)
    stores, first, samples = here.stores, dict[str, Promised](), Samples()
    eye = EngineEye(stores.ledger.site_id(), place.node, lambda live: note(samples, live, place.allocatable))
    known, begun = _ended(stores), time.monotonic()
    with (
        closing(eye),
        watching(lambda: eye.hear(EVERY), 0.0),
        watching(lambda: look(eye, samples), EVERY),
        watching(lambda: look_at_line(stores, place, samples, Rules.of(here.settings)), EVERY),
        watching(lambda: glance(stores, first), GLANCE),
        Client(here.address) as client,
    ):
        for spec in jobs:
            client.assign(spec)
        _until_ended(stores, known + len(jobs))
    took = time.monotonic() - begun
    ended = {spec["task_id"]: stores.jobs.get(spec["task_id"]) for spec in jobs}
    looks = max(1, samples.idle["looks"])
    return {
        "small": mix.small,
        "large": mix.large,
        "seconds": round(took, 1),
        "jobs_per_second": round(len(jobs) / took, 2),
        "samples": samples.taken,
        "samples_per_second": round(samples.taken / took, 2),
        "moments": samples.moments,
        "lent": {"millicores": place.allocatable.millicores, "memory": place.allocatable.memory, "slots": SLOTS},
        "most": {"millicores": samples.most.millicores, "memory": samples.most.memory, "slots": samples.most.slots},
        "containers_mean": round(samples.live / max(1, samples.taken), 2),
        "exceeded": samples.exceeded,
        "failed": [f"{each.task_id}: {each.outcome}" for each in ended.values() if each.state is not State.COMPLETED],
        "idle_while_waiting": samples.idle["idle"] / looks,
        "idle_while_one_fits": samples.idle["fits"] / looks,
        "idle_while_one_is_due": samples.idle["due"] / looks,
        "restless_looks": samples.idle["restless"],
        "overrun_seconds": samples.overrun / 1000,
        **promised([job for job in ended.values() if job.task_id.startswith("large-")], first),
    }


def _until_ended(stores: Stores, count: int) -> None:
    pause, at, ended = threading.Event(), time.monotonic(), 0
    while (now := _ended(stores)) < count:
        if now > ended:
            ended, at = now, time.monotonic()
        elif time.monotonic() - at > STUCK:
            raise RuntimeError(f"no job has ended for {STUCK:.0f} s: {stores.jobs.counts()}")
        pause.wait(EVERY)


def _ended(stores: Stores) -> int:
    counts = stores.jobs.counts()
    return counts["known"] - counts["active"]


def promised(large: Sequence[Job], first: Mapping[str, Promised]) -> dict[str, Any]:
    """When large jobs were admitted beside what they were promised first, all by Redis' clock."""
    early = {
        job.task_id: (first[job.task_id].at - (job.times.admitted or 0)) / 1000 for job in large if job.task_id in first
    }
    ahead = {task_id: (seen.at - seen.seen) / 1000 for task_id, seen in first.items()}
    waits = [((job.times.admitted or 0) - job.times.created) / 1000 for job in large]
    return {
        "promised": len(early),
        "broken": [
            f"{task_id}: {-by:.3f} s after its reservation, made {ahead[task_id]:.1f} s ahead"
            for task_id, by in early.items()
            if by < 0
        ],
        "least_early_seconds": min(early.values(), default=None),
        "large_wait_p50": percentile(waits, 0.5) if waits else None,
        "large_wait_longest": max(waits, default=None),
    }


# --- one by one -----------------------------------------------------------------------------------------------


def _alone(here: BenchNode, count: int) -> dict[str, float]:
    """Milliseconds from a job's arrival, on an idle node: until admission, its body's claim, its container's create.

    `engine_own`: what the engine itself takes from being asked for a container until its create.
    """
    engine, stores = Engine(here.settings), here.stores
    times: dict[str, list[float]] = {"admitted": [], "claimed": [], "create_begun": [], "engine_own": []}
    with Client(here.address) as client:
        for number in range(count + 3):
            cursor, task_id = stores.events.last_id(), f"alone-{number}"
            request = {"cpu": 0.2, "memory": 64 * MIB, "disk": MIB, "pids": 16}
            client.assign({"task_id": task_id, "image": IMAGE, "command": ["sleep", "0.2"], "requests": request})
            seen = _follow(stores, cursor, task_id, State.RUNNING)
            found = engine.inspect(f"hm-{task_id}-1")
            _follow(stores, cursor, task_id, State.COMPLETED)
            _until_gone(engine, f"hm-{task_id}-1")  # the node is idle once the engine has nothing more to do either
            if number < 3 or found is None or found.created_at is None:  # the first warm what is cached
                continue
            created = stores.jobs.get(task_id).times.created
            times["admitted"].append(seen[State.ADMITTED] - created)
            times["claimed"].append(seen[State.PREPARING] - created)
            times["create_begun"].append(found.created_at * 1000 - created)
            times["engine_own"].append(_asked_until_created(engine, f"bench-{os.getpid()}-{number}"))
    return {
        f"{name}_ms_p{share}": round(percentile(values, share / 100), 1)
        for name, values in times.items()
        for share in (50, 99)
    }


def _asked_until_created(engine: Engine, name: str) -> float:
    """Milliseconds."""
    at = time.time()
    container = engine.create(name, {"Image": IMAGE, "Cmd": ["true"]})
    try:
        found = engine.inspect(container)
    finally:
        engine.remove(container)
    if found is None or found.created_at is None:
        raise RuntimeError(f"the engine does not say when it made {name}")
    return (found.created_at - at) * 1000


def _until_gone(engine: Engine, name: str) -> None:
    pause, latest = threading.Event(), time.monotonic() + STUCK
    while engine.inspect(name) is not None:
        if time.monotonic() > latest:
            raise RuntimeError(f"container {name} is not removed")
        pause.wait(EVERY)


def _follow(stores: Stores, cursor: str, task_id: str, until: State) -> dict[str, int]:
    """State → when (epoch ms) for one job, from its events up to a state."""
    seen: dict[str, int] = {}
    at = time.monotonic()
    while until not in seen:
        for event in stores.events.read(cursor, block=1.0):
            cursor = event.id
            if event.task_id == task_id:
                seen.setdefault(event.state, event.at)
        if "failed" in seen or time.monotonic() - at > STUCK:
            raise RuntimeError(f"{task_id} did not come to {until}: {stores.jobs.get(task_id)}")
    return seen


# --- said -----------------------------------------------------------------------------------------------------


def table(result: dict[str, Any]) -> str:
    """For docs/admission.md."""
    lent, most, alone = result["lent"], result["most"], result["alone"]
    title = f"Live: {result['small']} small and {result['large']} node-filling jobs on {SLOTS} slots"
    rows: list[list[object]] = [
        ["samples of what lives on the engine", f"{result['samples']} in {result['seconds']:.0f} s", "10/s"],
        ["sum of caps beyond what is lent", f"{len(result['exceeded'])} of {result['moments']} moments", "0"],
        ["most at once, of what is lent: cores", f"{most['millicores'] / 1000:g} of {lent['millicores'] / 1000:g}", ""],
        ["… memory, MiB", f"{most['memory'] // MIB} of {lent['memory'] // MIB}", ""],
        ["… slots", f"{most['slots']} of {lent['slots']}", ""],
        ["large jobs whose reservation was seen", f"{result['promised']} of {result['large']}", ""],
        ["… that began after it", str(len(result["broken"])), "0"],
        ["longest that a job was held beyond its declared end", f"{result['overrun_seconds']:.1f} s", ""],
        ["slots idle while a waiting job is due", f"{100 * result['idle_while_one_is_due']:.1f} %", "≤ 2 %"],
        ["… while one fits, were there no reservation", f"{100 * result['idle_while_one_fits']:.1f} %", ""],
        ["jobs that failed", str(len(result["failed"])), "0"],
        ["jobs/s", str(result["jobs_per_second"]), ""],
    ]
    for name, text in (("admitted", "admission"), ("claimed", "its body"), ("create_begun", "its container's create")):
        if f"{name}_ms_p50" in alone:
            shown = f"{alone[f'{name}_ms_p50']} (p99 {alone[f'{name}_ms_p99']})"
            rows.append([f"idle node: arrival until {text}, ms p50", shown, "≤ 10"])
    if alone:
        shown = f"{alone['engine_own_ms_p50']} (p99 {alone['engine_own_ms_p99']})"
        rows.append(["… of which the engine's own, from being asked", shown, ""])
    return markdown(title, ["what", "found", "aim"], rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m bench.live [--small N] [--large M] [--json]`; exit 1 for a cap or a promise that did not hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.live", description=__doc__)
    parser.add_argument("--small", type=int, default=SMALL, metavar="N", help="small jobs")
    parser.add_argument("--large", type=int, default=LARGE, metavar="M", help="jobs that fill the node")
    parser.add_argument("--alone", type=int, default=ALONE, metavar="K", help="jobs that come to an idle node")
    parser.add_argument("--patience", type=float, default=1.0, metavar="X", help="times longer limits: a slow machine")
    parser.add_argument("--seed", type=int, default=7, metavar="S", help="draws sizes, times and order")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args(arguments)
    if min(options.small, options.large, options.alone) < 0 or options.small + options.large < 1:
        parser.error("there must be at least one job, and no number may be below 0")
    result = measure(Mix(options.small, options.large, options.alone, options.seed, options.patience))
    say(json.dumps(result, indent=2) if options.json else table(result))
    wrong = failures(result)
    for line in wrong:
        remark(f"bench.live: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(ending("bench.live", main))
