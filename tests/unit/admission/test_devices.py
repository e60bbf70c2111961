"""Devices: whole ones by count, shares by memory, each on one device, and never more than there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.admission.devices import Devices, free_on
from hivemind_worker.domain.node import Gpu, NodeCaps, Reservation
from hivemind_worker.domain.resources import GIB
from tests.builders import node, request, row


def gpu(uuid: str, gib: int = 16, **given: object) -> Gpu:
    return Gpu.model_validate({"uuid": uuid, "name": "x", "memory": gib * GIB} | given)


def devices(*gpus: Gpu, rows: tuple[Reservation, ...] = (), most: int = 99) -> Devices:
    return Devices.of(gpus, rows, most)


SHARE = request(gpus=1, gpu_memory=4 * GIB)
WHOLE = request(gpus=1)


def test_a_job_without_gpus_needs_no_device() -> None:
    assert Devices().place(request()) == ()
    assert Devices().lacks(request()) == {}


def test_a_whole_device_is_the_smallest_that_nobody_is_on() -> None:
    two = devices(gpu("big", 80), gpu("small"))
    assert two.place(WHOLE) == ("small",)
    assert two.take(("small",), 0).place(WHOLE) == ("big",)
    assert two.take(("small",), GIB).place(WHOLE) == ("big",)
    assert two.take(("small",), 0).take(("big",), GIB).place(WHOLE) is None


def test_a_share_goes_beside_others_before_it_opens_an_empty_device() -> None:
    shared = devices(gpu("a"), gpu("b"), rows=(row(gpus=("b",), gpu_memory=4 * GIB),))
    assert shared.place(SHARE) == ("b",)
    assert shared.place(request(gpus=2, gpu_memory=4 * GIB)) == ("b", "a")


def test_a_share_lies_on_one_device_and_never_across_two() -> None:
    rows = tuple(row(gpus=(uuid,), gpu_memory=13 * GIB) for uuid in ("a", "b"))
    both = devices(gpu("a"), gpu("b"), rows=rows)
    assert both.place(request(gpus=1, gpu_memory=6 * GIB)) is None
    assert both.lacks(request(gpus=1, gpu_memory=6 * GIB)) == {"gpu_memory": 3 * GIB}


def test_a_whole_job_lets_nobody_beside_it() -> None:
    assert devices(gpu("a"), rows=(row(gpus=("a",)),)).place(SHARE) is None


def test_what_the_driver_keeps_is_not_lent() -> None:
    assert devices(gpu("a", 16, reserved=GIB)).place(request(gpus=1, gpu_memory=16 * GIB)) is None


def test_ill_and_cordoned_devices_take_nothing() -> None:
    out = devices(gpu("a", trouble="fell off the bus"), gpu("b", cordoned=True))
    assert out.place(WHOLE) is None
    assert out.lacks(WHOLE) == {"gpus": 1}
    assert out.unused == 0


@pytest.mark.parametrize(
    ("cap", "settings_cap", "placed"), [(None, 2, ("b",)), (1, 2, None), (None, 1, None), (2, 2, ("b",))]
)
def test_a_busy_cordoned_device_takes_nothing_from_the_rest_but_counts_under_a_cap(
    cap: int | None, settings_cap: int, placed: tuple[str, ...] | None
) -> None:
    here = node(gpus=(gpu("a", cordoned=True), gpu("b")))
    lends = here.allocatable.model_copy(update={"gpus": settings_cap})
    here = here.model_copy(
        update={"allocatable": lends.model_copy(update={"gpus": 1}), "lends": lends, "caps": NodeCaps(gpus=cap)}
    )
    free, left = free_on(here, [row(gpus=("a",))])
    assert free.gpus == (1 if placed else 0)
    assert left.place(WHOLE) == placed
    assert left.lacks(WHOLE) == ({} if placed else {"gpus": 1})


def test_a_cap_on_devices_counts_devices_in_use_not_jobs() -> None:
    capped = devices(gpu("a"), gpu("b"), rows=(row(gpus=("a",), gpu_memory=GIB),), most=1)
    assert capped.place(SHARE) == ("a",)
    assert capped.place(WHOLE) is None
    assert capped.unused == 0


GPUS = st.lists(st.integers(1, 4), min_size=0, max_size=4).map(
    lambda sizes: tuple(gpu(f"g{i}", size) for i, size in enumerate(sizes))
)
WANTED = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=12)


@given(gpus=GPUS, wanted=WANTED, most=st.integers(0, 4))
def test_no_device_ever_holds_more_than_it_has(gpus: tuple[Gpu, ...], wanted: list[tuple[int, int]], most: int) -> None:
    room = Devices.of(gpus, (), most)
    held: list[tuple[tuple[str, ...], int]] = []
    for count, gib in wanted:
        asked = request(gpus=count, gpu_memory=gib * GIB if count else 0)
        placed = room.place(asked)
        assert (placed is None) == bool(room.lacks(asked))
        if placed is None:
            continue
        assert len(set(placed)) == len(placed) == count
        room = room.take(placed, asked.gpu_memory)
        held.append((placed, asked.gpu_memory))
    for each in gpus:
        shares = [share for uuids, share in held if each.uuid in uuids]
        assert sum(share or each.lendable for share in shares) <= each.lendable
        assert 0 not in shares or len(shares) == 1
    assert len({uuid for uuids, _ in held for uuid in uuids}) <= most
    for uuids, share in held:
        room = room.give(uuids, share)
    assert room == Devices.of(gpus, (), most)
