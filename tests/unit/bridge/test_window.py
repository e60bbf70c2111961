"""The window of reports: bounded, one of a job at a time, in order, whatever is settled or put off."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bridge.window import Item, Window
from hivemind_worker.store.events import Event


def item(number: int, job: str) -> Item:
    return Item(Event(f"{1000 + number}-0", job, "running", 1, "", 0))


def test_sequences_rise_as_ids_do() -> None:
    ids = ["999-5", "1000-0", "1000-1", "1000-10", "1001-0", "1700000000000-1048575", "1700000000001-0"]
    sequences = [Item(Event(i, "a", "running", 1, "", 0)).sequence for i in ids]
    assert sequences == sorted(set(sequences))
    assert max(sequences) < 2**63


def test_one_that_is_put_off_holds_back_its_own_job_alone() -> None:
    window = Window(10)
    window.put([item(1, "a"), item(2, "a"), item(3, "b")])
    first = window.wave(0.0, 10)
    assert [i.event.task_id for i in first] == ["a", "b"]
    assert window.hold(first[0], until=5.0) == 0
    window.settle(first[1])
    assert window.wave(4.9, 10) == []
    assert window.next_at() == 5.0
    assert window.wave(5.0, 10) == [first[0]]
    assert window.hold(first[0], until=9.0) == 1
    window.settle(first[0])
    assert [i.event.id for i in window.wave(0.0, 10)] == ["1002-0"]
    assert window.next_at() is None


@given(st.data())
def test_each_job_comes_out_whole_and_in_order(data: st.DataObject) -> None:
    jobs = data.draw(st.lists(st.sampled_from("abcd"), max_size=16))
    size = data.draw(st.integers(min_value=1, max_value=8))
    waiting = [item(number, job) for number, job in enumerate(jobs)]
    window, out, now = Window(size), [], 0.0
    while waiting or window:
        taken, waiting = waiting[: window.room], waiting[window.room :]
        window.put(taken)
        assert len(window) <= size
        wave: list[Any] = window.wave(now, data.draw(st.integers(min_value=1, max_value=5)))
        assert len({i.event.task_id for i in wave}) == len(wave)
        for each in wave:
            if data.draw(st.booleans()):
                window.settle(each)
                out.append(each)
            else:
                window.hold(each, now + 1.0)
        if not wave:
            now += 1.0
    for job in set(jobs):
        mine = [i.sequence for i in out if i.event.task_id == job]
        assert mine == sorted(mine)
        assert len(mine) == jobs.count(job)
