"""The plan: never more than there is, in order, the head's reservation kept whatever else starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from hivemind_worker.admission.policy import plan
from hivemind_worker.admission.rules import Place, Plan, Rules
from hivemind_worker.domain.limits import OwnersRunning
from hivemind_worker.domain.line import Candidate, Promise
from hivemind_worker.domain.node import Gpu, NodeState, Reservation
from hivemind_worker.domain.resources import GIB
from tests.builders import candidate, node, row

HOUR = 3600.0


def planned(waiting: Sequence[Candidate], *places: Place, now: int = 0, **given: Any) -> Plan:
    return plan(waiting, places, worker="w1", now=now, **given)


def chosen(
    waiting: list[Candidate], rows: dict[str, Reservation] | None = None, now: int = 0, **have: int
) -> list[str]:
    made = planned(waiting, Place(node(**have), rows or {}), now=now)
    return [claim.task_id for claim in made.claims]


def until(seconds: float, **given: Any) -> Reservation:
    return row(**given).model_copy(update={"deadline": int(seconds * 1000)})


def test_a_draining_node_takes_nothing_and_neither_does_one_in_trouble() -> None:
    for closed in (node(state=NodeState.DRAINING), node().model_copy(update={"trouble": "no engine"})):
        made = planned([candidate("a")], Place(closed, {}))
        assert made.claims == ()
        assert made.passed["a"].kind == "closed"


def test_a_full_node_takes_nothing_and_says_what_is_missing() -> None:
    made = planned([candidate("a", cpu=2.0)], Place(node(millicores=2500), {"x": row()}))
    assert made.claims == ()
    assert made.lacking == {"a": {"millicores": 500}}


def test_the_line_is_served_in_its_order() -> None:
    assert chosen([candidate("a"), candidate("b"), candidate("c")], millicores=2000) == ["a", "b"]


def test_the_first_that_does_not_fit_has_a_reservation_when_declared_ends_free_enough() -> None:
    rows = {"x": until(100, cpu=2.0), "y": until(200, cpu=2.0)}
    made = planned([candidate("large", cpu=4.0)], Place(node(), rows))
    assert made.promise == Promise("large", "n1", 200_000)
    assert made.passed["large"].kind == "head"


def test_a_later_job_starts_beside_the_reservation_or_ends_before_it_or_not_at_all() -> None:
    place = Place(node(), {"x": until(100, cpu=2.0)})
    large = candidate("large", cpu=3.0)
    ends_before = candidate("ends before", cpu=2.0, timeout=100)
    beside = candidate("beside", cpu=1.0, timeout=HOUR)
    delays = candidate("delays", cpu=2.0, timeout=101)
    assert [claim.task_id for claim in planned([large, ends_before], place).claims] == ["ends before"]
    assert [claim.task_id for claim in planned([large, beside], place).claims] == ["beside"]
    made = planned([large, delays], place)
    assert made.claims == ()
    assert made.passed["delays"].kind == "behind"


def test_a_reservation_once_given_stands_though_the_head_could_start_before() -> None:
    promise = Promise("large", "n1", 100_000)
    place = Place(node(), {})
    large = candidate("large", cpu=4.0, timeout=HOUR, predicted=HOUR)
    short = candidate("short", cpu=1.0, timeout=100, predicted=10.0)
    made = planned([large, short], place, promise=promise)
    assert [(claim.task_id, claim.why) for claim in made.claims] == [("short", "short")]
    assert made.promise == promise
    late = candidate("late", cpu=1.0, timeout=101, predicted=10.0)
    assert [claim.task_id for claim in planned([large, late], place, promise=promise).claims] == ["large"]


@pytest.mark.parametrize(
    "head", [{"timeout": HOUR}, {"timeout": HOUR, "predicted": 360.0}, {"timeout": 360, "predicted": HOUR}]
)
def test_a_head_that_is_not_known_to_be_long_keeps_its_slack(head: dict[str, float]) -> None:
    waiting = [candidate("head", cpu=4.0, **head), candidate("short", cpu=1.0, timeout=100, predicted=10.0)]
    made = planned(waiting, Place(node(), {}), promise=Promise("head", "n1", 1_000_000))
    assert [claim.task_id for claim in made.claims] == ["head"]


def test_where_runs_tell_little_the_longer_guess_says_whether_a_head_is_long() -> None:
    head = replace(candidate("head", cpu=4.0, timeout=HOUR, predicted=10.0), typical=1000.0)
    short = candidate("short", cpu=1.0, timeout=100, predicted=5.0)
    made = planned([head, short], Place(node(), {}), promise=Promise("head", "n1", 1_000_000))
    assert [claim.task_id for claim in made.claims] == ["short"]


def test_the_slack_of_a_reservation_is_not_for_jobs_that_are_neither_short_nor_wide() -> None:
    place = Place(node(), {})
    waiting = [candidate("large", cpu=4.0), candidate("long", cpu=1.0, timeout=600)]
    made = planned(waiting, place, promise=Promise("large", "n1", 1_000_000))
    assert [claim.task_id for claim in made.claims] == ["large"]


def test_jobs_as_large_as_the_node_follow_one_another_while_it_is_empty() -> None:
    waiting = [candidate("head", cpu=2.0, timeout=HOUR), candidate("wide", cpu=4.0, timeout=600)]
    made = planned(waiting, Place(node(), {}), promise=Promise("head", "n1", 600_000))
    assert [(claim.task_id, claim.why) for claim in made.claims] == [("wide", "wide")]
    assert made.promise == Promise("head", "n1", 600_000)


def test_who_has_the_reservation_keeps_it_when_somebody_more_urgent_comes() -> None:
    promise = Promise("large", "n1", 100_000)
    place = Place(node(), {"x": until(100, cpu=2.0)})
    urgent = candidate("urgent", rank=-5000.0, cpu=2.0, timeout=HOUR)
    small = candidate("small and urgent", rank=-4000.0, cpu=1.0, timeout=HOUR)
    made = planned([urgent, small, candidate("large", cpu=3.0)], place, promise=promise)
    assert [claim.task_id for claim in made.claims] == ["small and urgent"]
    assert made.promise == promise


def test_a_short_job_of_lower_priority_goes_before_no_head_of_a_higher() -> None:
    promise = Promise("head", "n1", 1_000_000)
    waiting = [candidate("head", rank=-5000.0, cpu=4.0, predicted=600.0), candidate("short", cpu=1.0, predicted=1.0)]
    assert [claim.task_id for claim in planned(waiting, Place(node(), {}), promise=promise).claims] == ["head"]


def test_a_prediction_costs_the_reservation_nothing() -> None:
    """A job predicted to be short, yet declared to be long, is held to what it declared."""
    place = Place(node(), {"x": until(100, cpu=2.0)})
    liar = candidate("liar", cpu=2.0, timeout=HOUR, predicted=1.0)
    assert planned([candidate("large", cpu=4.0), liar], place).claims == ()


def test_a_reservation_that_cannot_be_kept_is_named_and_replaced() -> None:
    made = planned(
        [candidate("large", cpu=4.0)],
        Place(node(), {"x": until(500, cpu=2.0)}),
        now=100_000,
        promise=Promise("large", "n1", 100_000),
    )
    assert made.broken == Promise("large", "n1", 100_000)
    assert made.promise == Promise("large", "n1", 500_000)


def test_a_row_that_outlives_its_end_is_expected_to_go_soon_and_to_take_as_long_again_as_it_is_late() -> None:
    for late, at in ((0, 11_000), (300, 11_000), (1500, 12_048), (9000, 26_384)):
        made = planned([candidate("large", cpu=4.0)], Place(node(), {"x": until(10)}), now=10_000 + late)
        assert made.promise == Promise("large", "n1", at)


def test_a_row_that_is_late_puts_a_promise_off_a_few_times_not_at_every_look() -> None:
    promise, broken, place = None, 0, Place(node(), {"x": until(10)})
    for now in range(0, 600_000, 50):
        made = planned([candidate("large", cpu=4.0)], place, now=now, promise=promise)
        broken, promise = broken + (made.broken is not None), made.promise
        assert promise is not None
        assert promise.at > now
    assert 1 <= broken <= 12


def test_what_is_held_before_the_start_and_after_the_timeout_is_in_the_declared_end() -> None:
    rules, large = Rules(starting=5.0, ending=15.0), candidate("large", cpu=4.0)
    made = planned([candidate("a", timeout=100)], Place(node(), {}), rules=rules)
    assert [(claim.row.deadline, claim.row.from_start) for claim in made.claims] == [(120_000, 115_000)]
    place = Place(node(), {"x": until(110, cpu=2.0)})
    assert planned([large, candidate("b", timeout=95, cpu=2.0)], place, rules=rules).claims == ()
    assert planned([large, candidate("b", timeout=90, cpu=2.0)], place, rules=rules).claims != ()


def test_a_container_that_is_not_started_in_time_is_late_already_then() -> None:
    held = until(120).model_copy(update={"from_start": 115_000})
    assert held.ends_by(4_999) == 120_000
    assert held.ends_by(5_000) == 121_000
    assert held.ends_by(35_000) == 152_768
    assert held.ends_by(10**9) > 10**9


def test_slots_end_the_plan() -> None:
    assert chosen([candidate(str(i), cpu=0.1) for i in range(9)], slots=3) == ["0", "1", "2"]


def test_devices_are_whole_and_the_smallest_that_suffices() -> None:
    gpus = (Gpu(uuid="big", name="x", memory=80 * GIB), Gpu(uuid="small", name="x", memory=16 * GIB))
    line = [candidate("a", gpus=1), candidate("b", gpus=1, gpu_memory=40 * GIB), candidate("c", gpus=1)]
    made = planned(line, Place(node(gpus=gpus), {}))
    assert {claim.task_id: claim.row.gpus for claim in made.claims} == {"a": ("small",), "b": ("big",)}
    assert made.lacking == {"c": {"gpus": 1}}


def test_nothing_is_kept_for_a_job_that_no_open_node_could_hold() -> None:
    for impossible in (candidate("too large", cpu=64.0), candidate("wants a gpu", gpus=1)):
        made = planned([impossible, candidate("small")], Place(node(), {}))
        assert [claim.task_id for claim in made.claims] == ["small"]
        assert made.passed[impossible.task_id].kind == "nowhere"


def test_the_head_keeps_devices_that_it_could_use() -> None:
    gpus = tuple(Gpu(uuid=uuid, name="x", memory=size * GIB) for uuid, size in (("s", 16), ("b1", 80), ("b2", 80)))
    line = [candidate("large", gpus=2, gpu_memory=40 * GIB), candidate("a", gpus=1), candidate("b", gpus=1)]
    made = planned(line, Place(node(gpus=gpus), {"x": until(30, gpus=("b1",))}))
    assert {claim.task_id: claim.row.gpus for claim in made.claims} == {"a": ("s",)}


def test_a_job_goes_where_it_leaves_the_larger_hole_whole() -> None:
    roomy, tight = Place(node("roomy"), {}), Place(node("tight", millicores=1000), {})
    claims = planned([candidate("small"), candidate("large", cpu=4.0)], roomy, tight).claims
    assert {claim.task_id: claim.node for claim in claims} == {"small": "tight", "large": "roomy"}


def test_the_reservation_is_on_the_node_that_frees_first_and_others_stay_free_for_all() -> None:
    slow = Place(node("slow"), {"x": until(900, cpu=2.0)})
    soon = Place(node("soon"), {"y": until(100, cpu=2.0)})
    made = planned([candidate("large", cpu=4.0), candidate("small", timeout=HOUR)], slow, soon)
    assert made.promise == Promise("large", "soon", 100_000)
    assert [(claim.task_id, claim.node) for claim in made.claims] == [("small", "slow")]


def test_with_weights_owners_take_turns_by_what_they_hold() -> None:
    line = [candidate(f"a{i}", owner="ann") for i in range(4)] + [candidate(f"b{i}", owner="bob") for i in range(4)]
    made = planned(line, Place(node(), {}), rules=Rules(weights={"ann": 1.0, "bob": 3.0}))
    assert [claim.row.owner for claim in made.claims].count("bob") == 3
    held = {"x": row(cpu=2.0, owner="bob")}
    made = planned(line, Place(node(), held), rules=Rules(weights={"ann": 1.0}))
    assert [claim.row.owner for claim in made.claims] == ["ann", "ann"]


def test_an_owner_that_runs_as_many_as_it_may_is_passed_over_and_hides_nobody() -> None:
    line = [candidate("a1", owner="ann"), candidate("a2", owner="ann"), candidate("b1", owner="bob")]
    held = {"x": row(owner="ann")}
    made = planned(line, Place(node(), held), owners=OwnersRunning.of(2, held.values()))
    assert [(claim.task_id, claim.row.owner) for claim in made.claims] == [("a1", "ann"), ("b1", "bob")]
    assert made.passed["a2"].kind == "owner"


def test_a_job_goes_to_its_home_alone_however_much_room_is_elsewhere() -> None:
    tight = Place(node("n1", millicores=1000), {})
    wide = Place(node("n2"), {})
    made = planned([candidate("bundle", home="n2"), candidate("any")], tight, wide)
    assert {claim.task_id: claim.node for claim in made.claims} == {"bundle": "n2", "any": "n1"}


def test_a_job_whose_home_takes_nothing_waits_for_it_and_is_nobodys_head() -> None:
    for home in (
        node("n2", state=NodeState.DOWN),
        node("n2", state=NodeState.DRAINING),
        node("n2").model_copy(update={"trouble": "no engine"}),
        node("never seen"),
    ):
        line = [candidate("bundle", rank=1, home="n2"), candidate("any", rank=2)]
        made = planned(line, Place(node("n1"), {}), Place(home, {}), promise=Promise("bundle", "n2", 5))
        assert [claim.task_id for claim in made.claims] == ["any"]
        assert made.promise is None
        assert (made.passed["bundle"].kind, made.passed["bundle"].node) == ("home", "n2")


def test_the_promise_of_a_job_with_a_home_is_made_there_and_one_that_is_full_says_what_is_missing() -> None:
    held = {"x": until(100, cpu=3.0)}
    made = planned([candidate("bundle", cpu=2.0, home="n2")], Place(node("n1"), {}), Place(node("n2"), held))
    assert made.claims == ()
    assert made.promise == Promise("bundle", "n2", 100_000)
    assert made.lacking == {"bundle": {"millicores": 1000}}


def test_a_job_that_its_home_could_never_hold_says_so_and_others_of_its_size_start() -> None:
    line = [candidate("bundle", cpu=4.0, home="n2"), candidate("any", cpu=4.0)]
    made = planned(line, Place(node("n1"), {}), Place(node("n2", millicores=2000), {}))
    assert [claim.task_id for claim in made.claims] == ["any"]
    assert (made.passed["bundle"].kind, made.passed["bundle"].node) == ("nowhere", "n2")


def test_the_plan_does_not_depend_on_the_order_of_the_nodes_nor_a_share_of_a_device_on_which_node_has_it() -> None:
    gpus = (Gpu(uuid="g", name="x", memory=16 * GIB),)
    places = [Place(node("a", millicores=4000), {}), Place(node("b", gpus=gpus), {})]
    line = [
        candidate(f"g{at}", rank=at, owner="gina", cpu=0.1, gpus=1, gpu_memory=GIB, timeout=HOUR) for at in range(9)
    ] + [candidate(f"c{at}", rank=9 + at, owner="carl", cpu=2.0, timeout=HOUR) for at in range(4)]
    for rules in (Rules(), Rules(weights={"gina": 1.0})):
        made = planned(line, *places, rules=rules)
        assert made == planned(line, *reversed(places), rules=rules)
    order = [claim.task_id for claim in made.claims]
    assert order[:3] == ["g0", "g1", "c0"], "a share is a sixteenth of what there is, two cores are a quarter"


def test_a_reclaimable_head_keeps_the_idle_cores_that_it_was_promised() -> None:
    rows = {"x": until(100, cpu=4.0)}
    place = Place(node(millicores=8000, spare=8000), rows)
    head = candidate("head", rank=0, cpu=6.0, timeout=60.0, reclaimable=True)
    takes = candidate("takes its cores", rank=1, cpu=4.0, timeout=HOUR)
    made = planned([head, takes], place)
    assert made.claims == ()
    assert made.promise == Promise("head", "n1", 100_000)
    beside, before = candidate("beside", rank=2, cpu=2.0, timeout=HOUR), candidate("before", rank=3, timeout=90.0)
    made = planned([head, takes, beside, before], place)
    assert {claim.task_id for claim in made.claims} == {"beside", "before"}


def test_who_fills_beside_the_head_goes_by_priority_and_in_one_by_arrival_however_large_or_long() -> None:
    place, minute = Place(node(), {"x": until(20_000, cpu=3.0)}), 60_000
    now = 100 * minute

    def came(task_id: str, minutes_ago: int, priority: int, **given: Any) -> Candidate:
        created = now - minutes_ago * minute
        return candidate(task_id, rank=created - priority * 10 * minute, created=created, **given)

    head = came("head", 5, 9, cpu=4.0, predicted=600.0)
    urgent, bulk = came("urgent", 3, 9, timeout=300.0), came("bulk", 1, 0, timeout=3900.0)
    aged = came("aged", 95, 0, timeout=4000.0)

    def first(*others: Candidate, **given: Any) -> str:
        line = sorted([head, *others], key=lambda each: each.rank)
        return planned(line, place, now=now, **given).claims[0].task_id

    assert first(urgent, bulk) == "urgent"
    assert first(came("earlier", 3, 0, timeout=300.0), bulk) == "earlier"
    assert first(urgent, aged) == "aged", "it came ninety minutes before"
    short = came("short", 1, 9, timeout=60.0, predicted=100.0), came("shorter", 1, 9, timeout=50.0)
    assert first(urgent, *short) == "shorter"


def test_of_an_owners_places_one_is_kept_for_its_head() -> None:
    rows = {"x": until(60, cpu=3.0, owner="bob")}
    place = Place(node(), rows)
    line = [
        candidate("large", rank=0, cpu=3.0, owner="ann"),
        candidate("small", rank=1, cpu=1.0, owner="ann", timeout=HOUR),
    ]
    made = planned(line, place, owners=OwnersRunning.of(1, rows.values()))
    assert made.claims == ()
    assert made.promise == Promise("large", "n1", 60_000)
    made = planned(line, place, owners=OwnersRunning.of(2, rows.values()))
    assert [claim.task_id for claim in made.claims] == ["small"]


def test_a_promise_whose_owner_has_no_place_left_or_whose_node_is_gone_is_called_broken() -> None:
    promise, line = Promise("large", "n1", 60_000), [candidate("large", cpu=3.0, owner="ann")]
    rows = {"x": until(60, cpu=3.0, owner="ann")}
    made = planned(line, Place(node(), rows), promise=promise, owners=OwnersRunning.of(1, rows.values()))
    assert (made.promise, made.broken) == (None, promise)
    made = planned(line, Place(node(state=NodeState.DOWN), {}), promise=promise)
    assert (made.promise, made.broken) == (None, promise)
    made = planned([candidate("other", cpu=9.0)], Place(node(), {}), promise=promise)
    assert (made.promise, made.broken) == (None, None), "the job has left the line"


def test_a_prediction_that_is_no_time_counts_for_nothing() -> None:
    for nonsense in (float("nan"), float("inf"), -1.0):
        made = planned([candidate("a", timeout=60.0, predicted=nonsense)], Place(node(), {}))
        assert [claim.row.expected for claim in made.claims] == [60_000]
