"""Sizes, times and amounts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.domain.resources import (
    GIB,
    MIB,
    RESOURCES,
    Amount,
    Request,
    describe,
    parse_duration,
    parse_size,
)

amounts = st.builds(Amount, **{name: st.integers(0, 10**12) for name in RESOURCES})


@pytest.mark.parametrize("text", ["", "x", "1X", "-1", "1e3", "nan", "inf", "1 2", "9999999T", "M"])
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|larger"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "x", "-1s", "nan", "1w", "1h30m"])
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("512", 512), ("256M", 256 * MIB), ("1.5g", GIB * 3 // 2), ("2GiB", 2 * GIB)]
)
def test_suffixes_are_powers_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("10m", 600), ("1.5h", 5400), ("30s", 30), ("1d", 86400)])
def test_times_take_their_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(amounts, amounts)
def test_an_amount_covers_another_exactly_when_nothing_asked_for_is_missing(have: Amount, want: Amount) -> None:
    missing = have.lacks(want)
    assert have.covers(want) == (not missing)
    assert all(amount > 0 for amount in missing.values())
    assert (have + want).covers(want)


@given(amounts, amounts)
def test_sums_and_differences_undo_each_other(one: Amount, other: Amount) -> None:
    assert one + other - other == one
    assert (one - other).floor().covers(Amount())


@given(
    st.floats(0.01, 64).map(lambda value: round(value, 3)),
    st.integers(6 * MIB, 10**12),
    st.integers(0, 8),
    st.integers(0, 10**11),
    st.integers(MIB, 10**12),
    st.integers(1, 10**4),
)
def test_a_shape_holds_the_whole_request(
    cpu: float, memory: int, gpus: int, gpu_memory: int, disk: int, pids: int
) -> None:
    wanted = Request(cpu=cpu, memory=memory, gpus=gpus, gpu_memory=gpu_memory, disk=disk, pids=pids)
    assert Request.from_shape(wanted.shape) == wanted


def test_amounts_read_as_a_person_says_them() -> None:
    assert describe("millicores", 1500) == "1.5 cores"
    assert describe("memory", 256 * MIB) == "256M of memory"
    assert describe("gpus", 2) == "2 GPUs"


@pytest.mark.parametrize(
    ("name", "one", "words"),
    [
        ("millicores", 1000, "1 core"), ("spare", 1000, "1 idle core"), ("gpus", 1, "1 GPU"), ("slots", 1, "1 slot"),
        ("pids", 1, "1 process"),
    ],
)  # fmt: skip
def test_one_of_anything_is_one(name: str, one: int, words: str) -> None:
    assert (describe(name, one), describe(name, 0)) == (words, f"0 {words[2:]}{'es' if name == 'pids' else 's'}")


def test_a_limit_below_the_request_is_refused_and_one_not_given_is_the_request() -> None:
    asked = {"cpu": 1.0, "memory": 64 * MIB, "disk": MIB, "pids": 1}
    assert Request(**asked).limit_millicores == 1000
    assert Request(**asked, cpu_limit=2.5).limit_millicores == 2500
    for bad in (0.5, 10**6, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="cpu_limit"):
            Request(**asked, cpu_limit=bad)


def test_jobs_on_idle_cores_stand_in_a_line_of_their_own() -> None:
    asked = {"cpu": 1.0, "memory": 64 * MIB, "disk": MIB, "pids": 1}
    spare = Request(**asked, reclaimable=True)
    assert spare.shape != Request(**asked).shape
    assert Request.from_shape(spare.shape) == spare
    assert (Amount.of(spare).millicores, Amount.of(spare).spare) == (0, 1000)
