"""Priority with ageing, and owners' shares: who goes first, and that nobody waits for ever."""

from __future__ import annotations

import random
from dataclasses import replace

from hivemind_worker.admission.rules import Rules
from hivemind_worker.domain.line import Candidate
from hivemind_worker.domain.resources import MIB
from tests.builders import candidate, node
from tests.unit.admission.test_policy_properties import Site

AGEING = 600_000


def flood(owner: str, jobs: int, cpu: float, memory: int, dice: random.Random) -> list[tuple[Candidate, int]]:
    return [
        (
            candidate(f"{owner}{number}", rank=float(number), owner=owner, timeout=600.0, cpu=cpu, memory=memory * MIB),
            dice.randrange(50_000, 600_000),
        )
        for number in range(jobs)
    ]


def serial(jobs: list[tuple[Candidate, int]]) -> list[str]:
    """The order in which jobs start on a node that runs one at a time."""
    site = Site([node(slots=1)], jobs, Rules())
    site.run()
    return sorted(site.started, key=site.started.__getitem__)


def ranked(task_id: str, created: int, priority: int) -> tuple[Candidate, int]:
    return candidate(task_id, rank=created - priority * AGEING, created=created, timeout=1000.0, cpu=1.0), 200_000


def test_a_job_of_priority_9_overtakes_all_that_wait() -> None:
    bulk = [ranked(f"bulk{number}", number, 0) for number in range(10)]
    order = serial([*bulk, ranked("urgent", 1_000, 9)])
    assert order.index("urgent") <= 2, "one runs already, and one has its promise"


def test_a_job_of_priority_0_starts_before_all_that_came_after_its_ageing_bound() -> None:
    first = ranked("patient", 0, 0)
    flood = [ranked(f"urgent{number:03}", number * 100_000, 9) for number in range(120)]
    order = serial([first, *flood])
    before = order[: order.index("patient")]
    created = {job.task_id: job.created for job, _ in flood}
    assert before, "it is overtaken"
    assert all(created[task_id] <= 9 * AGEING for task_id in before)


def test_without_weights_owners_make_no_difference() -> None:
    dice = random.Random(3)
    jobs = flood("ann", 40, 2.0, 16, dice) + flood("bob", 40, 3.0, 16, dice)
    alone = [(replace(job, owner=""), run) for job, run in jobs]
    sites = [Site([node(millicores=16_000)], work, Rules()) for work in (jobs, alone)]
    for site in sites:
        site.run()
    assert sites[0].started == sites[1].started
