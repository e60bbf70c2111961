"""Workloads after Lublin and Feitelson (JPDC 2003), without job types and what comparing policies does not need.

Sizes: 24 % serial, the rest two-stage uniform in log₂, most of them powers of two. Run times: the logarithm mixes two
gamma distributions whose weight depends on the size. Arrivals: e to a gamma. Users are made by sorting jobs by a
blurred run time and cutting: what one user runs takes about as long each time, as it does on real machines.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from bench.swf import TraceJob

ROUND_LIMITS = (
    60, 120, 300, 600, 900, 1200, 1800, 2700, 3600, 5400, 7200, 10800, 14400, 18000, 21600, 28800, 36000, 43200,
    54000, 64800, 72000, 86400, 108000, 129600, 172800,
)  # fmt: skip
#: longer ones are drawn again: ln seconds
LONGEST = 12.0


@dataclass(frozen=True, slots=True)
class Kind:
    """How a workload is to be. `blur`: how badly a user's run times tell the next one, in ln seconds."""

    lazy: bool = False
    blur: float = 1.0
    users: int = 60
    #: exponent that makes days and nights, 0: none
    cycle: float = 0.0


def workload(seed: int, kind: Kind = Kind(), *, jobs: int = 5000, processors: int = 128) -> list[TraceJob]:
    """Jobs in the order they come; the same seed, the same workload."""
    draw = random.Random(f"{seed} {kind}")
    sizes = [_size(draw, processors) for _ in range(jobs)]
    runs = [_run(draw, size) for size in sizes]
    limits = [_limit(draw, run, kind.lazy) for run in runs]
    submits = _arrivals(draw, jobs, kind.cycle)
    order = sorted(range(jobs), key=[math.log(run) + draw.gauss(0, kind.blur) for run in runs].__getitem__)
    users = {place: str(rank * kind.users // jobs) for rank, place in enumerate(order)}
    return [
        TraceJob(place + 1, submits[place] * 1000, run * 1000, limit * 1000, size, users[place], users[place])
        for place, (size, run, limit) in enumerate(zip(sizes, runs, limits, strict=True))
    ]


def _size(draw: random.Random, processors: int) -> int:
    if draw.random() < 0.244:
        return 1
    highest = math.log2(processors)
    low, middle = 0.8, highest - 2.5
    power = draw.uniform(low, middle) if draw.random() < 0.86 else draw.uniform(middle, highest)
    if draw.random() < 0.576 / (1 - 0.244):
        power = math.floor(power + 0.5)
    return max(1, min(processors, round(2**power)))


def _run(draw: random.Random, size: int) -> int:
    short = max(0.0, -0.0054 * size + 0.78)
    while True:
        log = draw.gammavariate(4.2, 0.94) if draw.random() < short else draw.gammavariate(312, 0.03)
        if log <= LONGEST:
            return max(1, int(math.exp(log)))


def _limit(draw: random.Random, run: int, lazy: bool) -> int:
    if lazy and draw.random() < 0.5:
        return max(run, ROUND_LIMITS[-1])
    wished = run / (1.0 if draw.random() < 0.1 else draw.uniform(0.02, 1.0))
    return max(run, next((limit for limit in ROUND_LIMITS if limit >= wished), ROUND_LIMITS[-1]))


def _arrivals(draw: random.Random, jobs: int, cycle: float) -> list[int]:
    at, found = 0.0, []
    for _ in range(jobs):
        pause = math.exp(min(13.0, draw.gammavariate(10.23, 0.4871)))
        at += pause * math.exp(cycle * math.sin(2 * math.pi * at / 86400))
        found.append(int(at))
    return found
