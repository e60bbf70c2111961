"""Priority with ageing, and owners' shares: who goes first, and that nobody waits for ever."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import replace

import pytest

from hivemind_worker.admission.rules import Rules
from hivemind_worker.domain.line import Candidate
from hivemind_worker.domain.resources import MIB
from tests.builders import candidate, node
from tests.unit.admission.test_policy_properties import Site

AGEING = 600_000


class Metered(Site):
    """A site that sums up what each owner holds of the resource it holds most of, over time."""

    def measure(self, until: int) -> dict[str, float]:
        """Owner → dominant share × ms, up to a moment."""
        whole = self.nodes[0].allocatable
        cores: defaultdict[str, float] = defaultdict(float)
        memory: defaultdict[str, float] = defaultdict(float)
        for job, run in self.jobs:
            held = max(0, min(until, self.started[job.task_id] + run) - self.started[job.task_id])
            millicores, size = (int(part) for part in job.shape.split(":")[:2])
            cores[job.owner] += held * millicores / whole.millicores
            memory[job.owner] += held * size / whole.memory
        return {owner: max(cores[owner], memory[owner]) for owner in cores}


def flood(owner: str, jobs: int, cpu: float, memory: int, dice: random.Random) -> list[tuple[Candidate, int]]:
    return [
        (
            candidate(f"{owner}{number}", rank=float(number), owner=owner, timeout=600.0, cpu=cpu, memory=memory * MIB),
            dice.randrange(50_000, 600_000),
        )
        for number in range(jobs)
    ]


@pytest.mark.parametrize(
    ("ann", "bob"),
    [((1.0, 16), (1.0, 16)), ((1.0, 16), (0.25, 64))],
    ids=["the same resource", "one cores, the other memory"],
)
def test_two_owners_who_flood_the_node_share_as_their_weights_say(
    ann: tuple[float, int], bob: tuple[float, int]
) -> None:
    dice = random.Random(7)
    jobs = flood("ann", 500, *ann, dice) + flood("bob", 500, *bob, dice)
    have = node(millicores=32_000, memory=2048 * MIB, slots=500, pids=100_000)
    site = Metered([have], jobs, Rules(weights={"ann": 1.0, "bob": 3.0}))
    site.run()
    last = [max(at for name, at in site.started.items() if name.startswith(who)) for who in ("ann", "bob")]
    shares = site.measure(min(last))
    if ann == bob:
        assert shares["bob"] / shares["ann"] == pytest.approx(3.0, rel=0.05)
    else:
        assert shares["bob"] > shares["ann"]


def test_an_owner_whose_every_job_is_more_than_its_share_has_its_turn_all_the_same() -> None:
    """Two owners of weight 1 and 3 whose jobs fill the node: by shares alone the first would never start."""
    jobs = [
        (candidate(f"{owner}{number:02}", rank=float(number), owner=owner, cpu=4.0, timeout=1000.0), 900_000)
        for number in range(40)
        for owner in ("ann", "bob")
    ]
    site = Site([node()], jobs, Rules(weights={"ann": 1.0, "bob": 3.0}, turn=3600.0))
    site.run()
    order = sorted(site.started, key=site.started.__getitem__)
    assert [task_id[:3] for task_id in order[:4]] == ["bob"] * 4
    assert site.started["ann00"] <= 2 * 3_600_000
    assert {task_id[:3] for task_id in order[8:12]} == {"ann", "bob"}


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
