"""When a waiting job will probably start: what is said comes true where what is known is true, and is bounded by what
is promised."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given

from hivemind_worker.admission.forecast import forecast
from hivemind_worker.admission.rules import Place, Rules
from hivemind_worker.domain.line import Candidate
from hivemind_worker.domain.node import Node
from tests.builders import candidate, node, row
from tests.unit.admission.test_policy_properties import GPUS, Site, _job, workloads


@dataclass
class Asked(Site):
    """A site that is asked after each plan when those that wait will start."""

    said: dict[str, list[int]] = field(default_factory=dict)

    def check(self) -> None:
        super().check()
        places = [Place(each, self.rows[each.node]) for each in self.nodes]
        waiting = sorted(self.line.values(), key=lambda job: (job.rank, job.task_id))
        starts = forecast(waiting, places, now=self.now, rules=self.rules, promise=self.promise)
        assert set(starts) == set(self.line)
        assert all(at > self.now for at in starts.values())
        if self.promise is not None:
            assert starts[self.promise.task_id] <= self.promise.at
        for task_id, at in starts.items():
            self.said.setdefault(task_id, []).append(at)


def asked(nodes: list[Node], jobs: list[tuple[Candidate, int]]) -> Asked:
    site = Asked(nodes, jobs, Rules())
    site.run()
    return site


@given(workloads)
def test_what_is_said_is_later_than_now_for_everyone_and_never_beyond_the_promise(
    wanted: list[tuple[dict[str, Any], dict[str, Any]]],
) -> None:
    asked([node("n1", gpus=GPUS)], [_job(number, *each) for number, each in enumerate(wanted)])


@given(workloads)
def test_with_true_run_times_and_nobody_coming_meanwhile_it_comes_true_and_never_moves(
    wanted: list[tuple[dict[str, Any], dict[str, Any]]],
) -> None:
    jobs = [_job(number, {**wish, "at": 0}, shape) for number, (wish, shape) in enumerate(wanted)]
    site = asked([node("n1", gpus=GPUS)], [(replace(job, predicted=run / 1000), run) for job, run in jobs])
    for task_id, said in site.said.items():
        assert set(said) == {site.started[task_id]}


def test_who_ends_early_moves_those_behind_it_forward_and_nobody_back() -> None:
    """The line stays in its place, and all that changes is that what runs ends before it was expected to."""
    line = [(candidate(f"j{number}", rank=number, cpu=4.0, timeout=100.0), 1000 * (40 + number)) for number in range(6)]
    site = asked([node("n1")], line)
    for said in site.said.values():
        assert said == sorted(said, reverse=True)


def test_a_job_that_went_back_to_the_line_between_the_look_at_the_rows_and_that_at_the_line_holds_nothing() -> None:
    now, ends = 1_000_000, {"back": 1_003_000, "other": 1_001_000}
    held = {name: row().model_copy(update={"deadline": end}) for name, end in ends.items()}
    waiting = [candidate("back"), *(candidate(f"next{n}", rank=1.0 + n) for n in range(3))]
    starts = forecast(waiting, [Place(node("n1", slots=2), held)], now=now)
    assert starts == {"back": now, "next0": now + 1000, "next1": now + 600_000, "next2": now + 601_000}
