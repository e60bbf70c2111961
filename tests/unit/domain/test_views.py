"""What the outside sees of jobs and nodes: whose fault, who paid, who is where and until when."""

from __future__ import annotations

from typing import Any

import pytest

from hivemind_worker.domain.job import PastAttempt, State, job_of_view, view
from hivemind_worker.domain.node import Gpu, NodeCaps, node_view
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.resources import GIB, Amount, describe
from tests.builders import job, node, row

CARD = Gpu(uuid="g", name="A card", memory=16 * GIB, reserved=GIB)


def past(cause: str) -> dict[str, Any]:
    shown: dict[str, Any] = view(job(past=(PastAttempt(attempt=1, cause=cause),)))["attempts"][0]
    return shown


@pytest.mark.parametrize(
    ("cause", "fault", "payer"),
    [
        ("exit", "user", "own"), ("oom", "user", "own"), ("node_lost", "infrastructure", "infrastructure"),
        ("engine", "infrastructure", "infrastructure"), ("of a newer release", None, None),
    ],
)  # fmt: skip
def test_an_attempt_that_was_followed_says_whose_fault_and_who_paid(cause: str, fault: str, payer: str) -> None:
    assert (past(cause)["fault"], past(cause)["paid_by"]) == (fault, payer)


def test_nobody_paid_for_an_attempt_after_the_last() -> None:
    times = {"created": 0, "admitted": 1, "started": 2, "finished": 3}
    ended = job(state=State.FAILED, attempt=1, times=times, outcome=Outcome(cause=Cause.NODE_LOST))
    last = view(ended)["attempts"][-1]
    assert (last["fault"], last["paid_by"]) == ("infrastructure", None)
    running = view(job(state=State.RUNNING, attempt=1, times={"created": 0, "admitted": 1}))["attempts"][-1]
    assert (running["fault"], running["paid_by"]) == (None, None)


def test_what_was_spent_outlasts_the_record() -> None:
    shown = view(job(failures=2, infra_failures=1))
    assert shown["spent"] == {"own": 2, "infrastructure": 1}
    assert view(job_of_view(shown))["spent"] == shown["spent"]
    assert view(job_of_view({name: value for name, value in shown.items() if name != "spent"}))["spent"]["own"] == 0


def test_a_device_names_its_jobs_with_what_each_holds() -> None:
    share = row(gpus=("g",), owner="ann", gpu_memory=2 * GIB)
    seen = node_view(node(gpus=(CARD,)), {"b": share, "a": row(), "c": row(gpus=("other",))}, 0)["gpus"][0]
    assert seen["holders"] == [{"task_id": "b", "owner": "ann", "memory": 2 * GIB, "whole": False}]
    assert (seen["lendable"], seen["held"], seen["jobs"]) == (15 * GIB, 2 * GIB, 1)
    whole = node_view(node(gpus=(CARD,)), {"b": row(gpus=("g",))}, 0)["gpus"][0]["holders"][0]
    assert (whole["memory"], whole["whole"]) == (15 * GIB, True)


def test_a_node_says_until_when_it_is_busy_by_declared_ends_and_probably() -> None:
    known = row().model_copy(update={"deadline": 60_000, "expected": 5_000})
    unknown = row().model_copy(update={"deadline": 30_000})
    shown = node_view(node(), {"a": known, "b": unknown}, 0)
    assert shown["empty_by"] == "1970-01-01T00:01:00.000Z"
    assert shown["empty_expected"] == "1970-01-01T00:00:30.000Z"
    empty = node_view(node(), {}, 0)
    assert (empty["empty_by"], empty["empty_expected"]) == (None, None)


def test_a_cap_above_the_machine_is_warned_of_whoever_set_it() -> None:
    odd = node().model_copy(update={"caps": NodeCaps(millicores=64_000), "remarks": ("HIVEMIND_MAX_GPUS=9 is more",)})
    assert node_view(odd, {}, 0)["warnings"] == [
        "HIVEMIND_MAX_GPUS=9 is more",
        "the cap of 64 cores is more than the node has: 4 cores",
    ]


def test_a_cap_above_what_settings_let_the_node_lend_is_told_too() -> None:
    whole = node(millicores=4000)
    settings = whole.allocatable.model_copy(update={"millicores": 1000})
    caps = NodeCaps(millicores=2000, memory=whole.capacity.memory + 1, slots=1)
    capped = whole.model_copy(update={"caps": caps, "lends": settings, "allocatable": caps.within(settings)})
    assert node_view(capped, {}, 0)["warnings"] == [
        "the cap of 2 cores is more than the node lends by its settings, beside what it keeps: 1 core",
        f"the cap of {describe('memory', whole.capacity.memory + 1)} is more than the node has: 1G of memory",
    ]


def test_a_cap_that_lowers_what_is_overcommitted_is_no_mistake() -> None:
    whole = node(millicores=4000)
    lends = whole.allocatable.model_copy(update={"millicores": 6000})
    capped = whole.model_copy(update={"caps": NodeCaps(millicores=5000), "lends": lends})
    assert node_view(capped, {}, 0)["warnings"] == []


def test_a_container_may_have_what_is_lent_but_no_more_than_there_is_and_nothing_where_the_owner_lends_a_part() -> None:
    whole = node(millicores=4000).model_copy(update={"reserve": Amount(millicores=500)})
    for lent, most in ((3500, 3500), (8000, 4000), (3499, 0), (1500, 0)):
        allocatable = whole.allocatable.model_copy(update={"millicores": lent})
        assert whole.model_copy(update={"allocatable": allocatable}).cores == most
