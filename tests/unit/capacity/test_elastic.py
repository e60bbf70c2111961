"""CPU beyond what there is: up slowly while it is calm, down fast under pressure, never beyond the ceiling."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.capacity.elastic import CALM_LOOKS, STEP_UP, Elastic, pressure_of
from hivemind_worker.capacity.host import lend
from hivemind_worker.domain.resources import GIB, Amount
from hivemind_worker.settings import Settings

MACHINE = Amount(millicores=8000, memory=32 * GIB, gpus=0, disk=100 * GIB, pids=32768, slots=32)


def after(looks: int, state: Elastic = Elastic(), ceiling: float = 2.0, **seen: float) -> Elastic:  # noqa: B008
    for _ in range(looks):
        state = state.after(**{"use": 0.0, "pressure": 0.0} | seen, ceiling=ceiling)
    return state


def test_a_calm_machine_rises_one_step_after_several_looks() -> None:
    assert after(CALM_LOOKS - 1).factor == 1.0
    assert after(CALM_LOOKS).factor == 1.0 + STEP_UP
    assert after(1000).factor == 2.0


@pytest.mark.parametrize("seen", [{"use": 70.0}, {"pressure": 5.0}])
def test_a_busy_machine_stays_where_it_is_and_begins_anew(seen: dict[str, float]) -> None:
    state = after(CALM_LOOKS - 1, Elastic(1.5))
    assert after(1, state, **seen) == Elastic(1.5)


def test_pressure_lowers_at_once_and_never_below_what_there_is() -> None:
    assert after(1, Elastic(1.5), pressure=50.0).factor == 1.3
    assert after(9, Elastic(1.5), pressure=50.0).factor == 1.0


def test_a_ceiling_of_one_is_off() -> None:
    assert after(1000, ceiling=1.0).factor == 1.0


LOOK = st.tuples(st.floats(0, 100), st.floats(0, 100))


@given(looks=st.lists(LOOK, max_size=60), ceiling=st.floats(1, 8), start=st.floats(0.5, 9))
def test_the_factor_stays_between_one_and_its_ceiling_and_rises_by_one_step_at_most(
    looks: list[tuple[float, float]], ceiling: float, start: float
) -> None:
    state = Elastic(1.0).after(use=100, pressure=0, ceiling=ceiling)
    ups: list[int] = []
    for number, (use, pressure) in enumerate(looks):
        later = state.after(use=use, pressure=pressure, ceiling=ceiling)
        assert 1.0 <= later.factor <= ceiling
        assert later.factor - state.factor <= STEP_UP + 0.001
        if later.factor > state.factor:
            ups.append(number)
        state = later
    assert all(second - first >= CALM_LOOKS for first, second in itertools.pairwise(ups))
    assert Elastic(start).after(use=0, pressure=100, ceiling=ceiling).factor <= max(1.0, min(start, ceiling))


@pytest.mark.parametrize(
    ("psi", "load", "pressure"),
    [
        ("some avg10=12.34 avg60=1.00 avg300=0.00 total=9\nfull avg10=99.00 avg60=0.00 total=0\n", 99, 12.34),
        ("", 1.0, 0.0), ("", 6.0, 50.0), ("", 400.0, 100.0),
    ],
)  # fmt: skip
def test_pressure_is_the_kernels_word_or_else_the_load(psi: str, load: float, pressure: float) -> None:
    assert pressure_of(psi, load, 4) == pytest.approx(pressure)


def lent(settings: Settings, factor: float, **change: object) -> Amount:
    return lend(MACHINE, settings.model_copy(update=change), disk_used=0, factor=factor).allocatable


def test_by_default_only_reclaimable_jobs_get_idle_cores(settings: Settings) -> None:
    calm = lent(settings, 2.0)
    assert (calm.millicores, calm.spare) == (8000, 16000)
    assert lent(settings, 1.0).spare == 8000


def test_an_operator_may_overcommit_cores_up_to_a_ceiling(settings: Settings) -> None:
    assert lent(settings, 1.2, cpu_overcommit_max=1.5).millicores == 9600
    assert lent(settings, 2.0, cpu_overcommit_max=1.5).millicores == 12000


def test_memory_is_lent_once_unless_the_operator_says_otherwise(settings: Settings) -> None:
    once = lent(settings, 2.0).memory
    assert once < 32 * GIB
    assert lent(settings, 1.0, memory_overcommit=1.5).memory == int(once * 1.5)


def test_no_factor_passes_the_owners_caps(settings: Settings) -> None:
    capped = lent(settings, 2.0, cpu_overcommit_max=2.0, memory_overcommit=2.0, max_cpu_cores=3.0, max_memory_gb=4.0)
    assert (capped.millicores, capped.spare, capped.memory) == (3000, 3000, 4 * GIB)
