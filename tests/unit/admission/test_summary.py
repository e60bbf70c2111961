"""What the gauges say of the line adds up, whatever the plan gives as its reasons."""

from __future__ import annotations

from typing import get_args, get_type_hints

from hivemind_worker.admission.outlook import FRONT, Forecast, Outlook
from hivemind_worker.admission.rules import Passed
from hivemind_worker.admission.summary import REASONS, summary_of
from hivemind_worker.domain.line import Promise


def test_every_kind_of_reason_that_a_plan_gives_is_counted() -> None:
    assert set(get_args(get_type_hints(Passed)["kind"])) <= set(REASONS)


def test_the_counts_add_up_to_who_waits() -> None:
    outlook = Outlook(now=0, passed={"a": Passed("head"), "b": Passed("full")}, starting=frozenset({"c"}))
    found = summary_of(["a", "b", "c"], FRONT + 5, outlook).reasons
    assert {reason: count for reason, count in found.items() if count} == {
        "head": 1, "full": 1, "starting": 1, "resting": FRONT - 3, "unseen": 5,
    }  # fmt: skip


def test_behind_the_front_the_last_ones_eta_goes_on_as_the_front_moves() -> None:
    front = [f"j{number}" for number in range(FRONT)]
    starts = {task_id: 1000 * (place + 1) for place, task_id in enumerate(front)}
    outlook = Outlook(now=0, forecast=Forecast(starts, FRONT, 1000 * FRONT))
    found = summary_of(front, 2 * FRONT, outlook)
    assert (found.first_eta, found.longest_eta) == (1.0, 2.0 * FRONT)
    assert summary_of(front, 2 * FRONT, Outlook(now=0)).longest_eta is None


def test_the_heads_eta_is_that_of_who_has_the_promise_and_never_beyond_it() -> None:
    promise, known = Promise("promised", "n1", 9_000), Forecast({"first": 5_000, "promised": 7_000}, 2, 7_000)
    outlook = Outlook(now=0, promise=promise, forecast=known)
    assert summary_of(["first", "promised"], 2, outlook).first_eta == 7.0
    unforeseen = Outlook(now=0, promise=promise, forecast=Forecast({"first": 5_000}, 2, 0))
    assert summary_of(["first", "promised"], 2, unforeseen).first_eta == 9.0


def test_of_owners_parts_as_many_are_unseen_as_were_not_looked_at() -> None:
    found = summary_of(["a", "b"], 10, Outlook(now=0, starting=frozenset({"a", "b"})), looked=3).reasons
    assert (found["starting"], found["resting"], found["unseen"]) == (2, 1, 7)
