"""The walk after a gap: whatever is settled in whatever order, its noted place leaves nothing unsettled behind."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from bridge.catch_up import AHEAD, CatchUp
from bridge.resync import STEP, Resyncer, ResyncStep
from bridge.window import Item
from hivemind_worker.domain.errors import HistoryUnavailable
from hivemind_worker.store.events import Event
from hivemind_worker.store.outbox import Resync, Term


class Records:
    """As a Resyncer: step `n` has so many changed records; places are the steps' numbers."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.away = False

    def step(self, since: str, place: str) -> ResyncStep:
        if self.away:
            raise HistoryUnavailable("away")
        number = int(place or 0)
        items = tuple(Item(Event("1-0", f"{number}-{i}", "running", 1, "", 0)) for i in range(self.sizes[number]))
        return ResyncStep(items, str(number + 1) if number + 1 < len(self.sizes) else None)


class Noted:
    """As a Term: what Redis has."""

    def __init__(self) -> None:
        self.resync: Resync | None = Resync("1-0", "", 0)

    def walked(self, resync: Resync, place: str | None) -> Resync | None:
        self.resync = None if place is None else Resync(resync.since, place, resync.gap)
        return self.resync


def walk_of(records: Records) -> CatchUp:
    return CatchUp(cast(Resyncer, records))


@given(sizes=st.lists(st.integers(0, 3), min_size=1, max_size=12), data=st.data())
def test_nothing_before_the_noted_place_is_unsettled(sizes: list[int], data: st.DataObject) -> None:
    walk, redis, left = walk_of(Records(sizes)), Noted(), list[Item]()
    term = cast(Term, cast(Any, redis))
    while redis.resync is not None:
        walk.follow(redis.resync)
        left += walk.read(STEP) or ()
        chosen = data.draw(st.sets(st.sampled_from(range(len(left))))) if left and walk.reading else range(len(left))
        walk.settle(term, [left[i] for i in chosen])
        left = [item for i, item in enumerate(left) if i not in chosen]
        reached = len(sizes) if redis.resync is None else int(redis.resync.place or 0)
        assert all(int(item.event.task_id.partition("-")[0]) >= reached for item in left)
        assert len(walk._steps) <= len(left) + 1
    assert not left


def test_it_reads_ahead_within_a_bound() -> None:
    walk, read = walk_of(Records([STEP] * 9)), 0
    walk.follow(Noted().resync)
    assert walk.read(STEP - 1) is None
    while (items := walk.read(STEP)) is not None:
        read += len(items)
    assert AHEAD - STEP < read <= AHEAD


def test_another_gap_begins_it_anew_and_its_own_notes_do_not() -> None:
    walk, redis = walk_of(Records([1, 1, 1])), Noted()
    walk.follow(redis.resync)
    first = walk.read(STEP)
    assert first is not None
    walk.settle(cast(Term, cast(Any, redis)), first)
    walk.follow(redis.resync)
    assert [item.event.task_id for item in walk.read(STEP) or ()] == ["1-0"]
    walk.follow(Resync("1-0", "", 1))
    assert [item.event.task_id for item in walk.read(STEP) or ()] == ["0-0"]


def test_a_history_that_is_away_is_left_alone_for_a_while() -> None:
    records = Records([1])
    walk, records.away = walk_of(records), True
    walk.follow(Noted().resync)
    assert walk.read(STEP) is None
    records.away = False
    assert walk.read(STEP) is None
    assert walk.reading
