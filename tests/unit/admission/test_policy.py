"""The plan: never more than there is, in order, passing over what does not fit, starving nobody."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.admission.policy import Plan, plan
from hivemind_worker.domain.limits import OwnersRunning
from hivemind_worker.domain.line import Candidate
from hivemind_worker.domain.node import Gpu, NodeState, Reservation, total
from hivemind_worker.domain.resources import GIB, MIB
from tests.builders import candidate, node, row


def chosen(
    waiting: list[Candidate], rows: dict[str, Reservation] | None = None, now: int = 0, **have: int
) -> list[str]:
    made = plan(waiting, node(**have), rows or {}, worker="w1", now=now, patience=120.0)
    return [claim.task_id for claim in made.claims]


def test_a_draining_node_takes_nothing() -> None:
    made = plan([candidate("a")], node(state=NodeState.DRAINING), {}, worker="w1", now=0, patience=1)
    assert made == Plan()


def test_a_full_node_takes_nothing_and_says_what_is_missing() -> None:
    made = plan([candidate("a", cpu=2.0)], node(millicores=2500), {"x": row()}, worker="w", now=0, patience=9)
    assert made.claims == ()
    assert made.lacking == {"a": {"millicores": 500}}


def test_the_line_is_served_in_its_order() -> None:
    assert chosen([candidate("a"), candidate("b"), candidate("c")], millicores=2000) == ["a", "b"]


def test_what_does_not_fit_now_is_passed_over() -> None:
    assert chosen([candidate("large", cpu=4.0), candidate("small")], rows={"x": row()}) == ["small"]


def test_a_job_that_waited_beyond_patience_is_passed_over_no_more() -> None:
    line = [candidate("large", cpu=4.0), candidate("small")]
    assert chosen(line, rows={"x": row()}, now=119_999) == ["small"]
    assert chosen(line, rows={"x": row()}, now=120_000) == []


def test_only_what_the_patient_job_needs_is_set_aside() -> None:
    line = [candidate("large", cpu=2.0), candidate("small")]
    rows = {f"x{i}": row() for i in range(3)}
    assert chosen(line, rows=rows, now=120_000, millicores=5_000, slots=9) == ["large", "small"][:1]
    assert chosen(line, rows=rows, now=120_000, millicores=4_500) == []
    waits_for_gpus = [candidate("gpu", gpus=1, cpu=1.0), candidate("small")]
    assert chosen(waits_for_gpus, now=120_000, millicores=2_000) == ["small"]


def test_slots_end_the_plan() -> None:
    assert chosen([candidate(str(i), cpu=0.1) for i in range(9)], slots=3) == ["0", "1", "2"]


def test_devices_are_whole_and_the_smallest_that_suffices() -> None:
    gpus = (Gpu(uuid="big", name="x", memory=80 * GIB), Gpu(uuid="small", name="x", memory=16 * GIB))
    line = [candidate("a", gpus=1), candidate("b", gpus=1, gpu_memory=40 * GIB), candidate("c", gpus=1)]
    made = plan(line, node(gpus=gpus), {}, worker="w", now=0, patience=9)
    assert {claim.task_id: claim.row.gpus for claim in made.claims} == {"a": ("small",), "b": ("big",)}
    assert made.lacking == {"c": {"gpus": 1}}


def test_nothing_is_set_aside_for_a_job_that_only_another_node_can_hold() -> None:
    assert chosen([candidate("too large", cpu=64.0), candidate("small")], now=10**9) == ["small"]
    assert chosen([candidate("wants a gpu", gpus=1), candidate("small")], now=10**9) == ["small"]


def test_patience_sets_aside_devices_that_the_job_could_use() -> None:
    gpus = tuple(Gpu(uuid=uuid, name="x", memory=size * GIB) for uuid, size in (("s", 16), ("b1", 80), ("b2", 80)))
    line = [candidate("large", gpus=2, gpu_memory=40 * GIB), candidate("a", gpus=1), candidate("b", gpus=1)]
    made = plan(line, node(gpus=gpus), {"x": row(gpus=("b1",))}, worker="w", now=10**9, patience=9)
    assert {claim.task_id: claim.row.gpus for claim in made.claims} == {"a": ("s",)}


requests = st.fixed_dictionaries(
    {
        "cpu": st.floats(0.01, 6).map(lambda value: round(value, 3)),
        "memory": st.integers(6 * MIB, 1500 * MIB),
        "disk": st.integers(MIB, 1500 * MIB),
        "gpus": st.integers(0, 3),
    }
)


@given(st.lists(requests, max_size=30), st.integers(0, 300_000))
def test_no_plan_takes_more_than_there_is_or_a_device_twice(line: list[dict[str, float]], now: int) -> None:
    gpus = tuple(Gpu(uuid=f"g{i}", name="x", memory=GIB) for i in range(2))
    here = node(gpus=gpus)
    rows = {"x": row(gpus=("g0",))}
    waiting = [candidate(f"j{i}", **wanted) for i, wanted in enumerate(line)]
    made = plan(waiting, here, rows, worker="w", now=now, patience=120)
    taken = [claim.row for claim in made.claims]
    assert here.allocatable.covers(total([*rows.values(), *taken]))
    devices = [uuid for held in [*rows.values(), *taken] for uuid in held.gpus]
    assert len(devices) == len(set(devices))


@given(st.lists(requests, min_size=1, max_size=20))
def test_the_first_that_fits_an_empty_node_always_starts(line: list[dict[str, float]]) -> None:
    here = node()
    waiting = [candidate(f"j{i}", **wanted) for i, wanted in enumerate(line)]
    fitting = [each.task_id for each in waiting if not plan([each], here, {}, worker="w", now=0, patience=9).lacking]
    made = plan(waiting, here, {}, worker="w", now=0, patience=9)
    assert [claim.task_id for claim in made.claims][:1] == fitting[:1]


def test_an_owner_that_runs_as_many_as_it_may_is_passed_over_and_hides_nobody() -> None:
    line = [candidate("a1", owner="ann"), candidate("a2", owner="ann"), candidate("b1", owner="bob")]
    held = {"x": row(owner="ann")}
    made = plan(line, node(), held, worker="w", now=0, patience=9, owners=OwnersRunning.of(2, held.values()))
    assert [(claim.task_id, claim.row.owner) for claim in made.claims] == [("a1", "ann"), ("b1", "bob")]
