"""The order in which a node starts what waits, through the store: what a plan sees is the line's true front."""

from __future__ import annotations

from collections import Counter

import pytest

from hivemind_worker.admission.admitter import Admitter
from hivemind_worker.admission.rules import Rules
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.store import ledger
from hivemind_worker.store.jobs import NewJob
from tests.builders import new_job, node, request


class OneNode:
    """A node with some slots; jobs end in the order they started, one at a time."""

    def __init__(self, stores: Stores, slots: int, **weights: float) -> None:
        self.stores = stores
        self.started: list[str] = []
        self.running: list[str] = []
        stores.ledger.announce(node(slots=slots, millicores=slots * 1000), worker="w1", lease_seconds=3600)
        rules = Rules(weights=weights)
        self._admitter = Admitter(stores.ledger, node="n1", worker="w1", rules=rules, hinted=self._hint)

    def _hint(self, task_id: str, attempt: int) -> None:
        self.started.append(task_id)
        self.running.append(task_id)

    def admit(self) -> None:
        while self._admitter.once():
            pass

    def end_one(self) -> None:
        task_id = self.running.pop(0)
        job = self.stores.jobs.claim(task_id, 1, node="n1", worker="w1")
        self.stores.jobs.finish(job, Outcome(cause=Cause.OK))

    def run_all(self) -> list[str]:
        self.admit()
        while self.running:
            self.end_one()
            self.admit()
        return self.started


def jobs(name: str, count: int, lines: int = 1, **given: object) -> list[NewJob]:
    """So many, in turn of so many programs: each program is a line of its own."""
    return [
        new_job(f"{name}{at:03}", command=(f"./{name}{at % lines}",), requests=request(cpu=1.0), **given)
        for at in range(count)
    ]


def test_jobs_of_one_priority_start_in_the_order_they_came_whatever_they_run(stores: Stores) -> None:
    stores.jobs.create_many([*jobs("early", 6), *jobs("late", 6)])
    assert OneNode(stores, slots=1).run_all() == [f"{name}{at:03}" for name in ("early", "late") for at in range(6)]


def test_every_job_of_a_higher_priority_starts_before_those_of_a_lower_one(stores: Stores) -> None:
    stores.jobs.create_many([*jobs("low", 6, priority=0), *jobs("high", 6, priority=9)])
    assert OneNode(stores, slots=1).run_all() == [f"{name}{at:03}" for name in ("high", "low") for at in range(6)]


@pytest.mark.parametrize("ends", [1, 6])
def test_a_crowd_of_programs_is_no_way_past_a_higher_priority(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, ends: int
) -> None:
    monkeypatch.setattr(ledger, "WINDOW_LINES", 16)
    monkeypatch.setattr(ledger, "WINDOW_JOBS", 16)
    monkeypatch.setattr(ledger, "WINDOW_FRONT", 8)
    stores.jobs.create_many([*jobs("low", 60, lines=30, priority=0), *jobs("high", 40, priority=9)])
    here = OneNode(stores, slots=6)
    here.admit()
    while len(here.started) < 40:
        for _ in range(ends):
            here.end_one()
        here.admit()
    assert all(task_id.startswith("high") for task_id in here.started[:40])


@pytest.mark.parametrize("lines", [1, 8, 40])
def test_two_owners_that_flood_a_node_share_it_by_weight_however_many_programs_one_has(
    stores: Stores, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    monkeypatch.setattr(ledger, "WINDOW_LINES", 16)
    monkeypatch.setattr(ledger, "WINDOW_JOBS", 16)
    stores.jobs.create_many([*jobs("a", 150, lines=lines, owner="ann"), *jobs("b", 150, owner="bob")])
    here = OneNode(stores, slots=4, ann=1.0, bob=3.0)
    here.admit()
    held: Counter[str] = Counter()
    for _ in range(120):
        held.update(task_id[0] for task_id in here.running)
        here.end_one()
        here.admit()
    assert held["b"] / held["a"] == pytest.approx(3.0, rel=0.05)
