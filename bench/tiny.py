"""A workload of tiny jobs, some of them as wide as the machine: all take seconds and declare minutes."""

from __future__ import annotations

import random

from bench.swf import TraceJob

MEAN_RUN = 20
LIMITS = (60, 300)
WIDE = 0.05
USERS = 300


def workload(seed: int, *, jobs: int = 2000, processors: int = 16) -> list[TraceJob]:
    """Jobs in the order they come; the same seed, the same workload."""
    draw, at, found = random.Random(f"{seed} tiny"), 0.0, []
    for number in range(1, jobs + 1):
        at += draw.expovariate(1 / 3)
        limit, user = draw.choice(LIMITS), str(draw.randint(1, USERS))
        run = min(limit, int(draw.expovariate(1 / MEAN_RUN) + 1))
        size = processors if draw.random() < WIDE else 1
        found.append(TraceJob(number, int(at * 1000), run * 1000, limit * 1000, size, user, user))
    return found
