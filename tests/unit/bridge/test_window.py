"""The window of reports: bounded, one of a job at a time, in order, whatever is settled or put off."""

from __future__ import annotations

from itertools import cycle

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


@given(
    # Of each event: its job, and how often it is put off before it is settled. Drawn before, not in the loop: a loop
    # that ends only when the draws happen to let it costs hypothesis most of its time on runs it must throw away.
    events=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3)), max_size=24),
    size=st.integers(min_value=1, max_value=8),
    limits=st.lists(st.integers(min_value=1, max_value=5), min_size=1, max_size=8),
)
def test_each_job_comes_out_whole_and_in_order(events: list[tuple[str, int]], size: int, limits: list[int]) -> None:
    waiting = [item(number, job) for number, (job, _) in enumerate(events)]
    put_off = {each.event.id: times for each, (_, times) in zip(waiting, events, strict=True)}
    window, out, now, limit = Window(size), list[Item](), 0.0, cycle(limits)
    while waiting or window:
        taken, waiting = waiting[: window.room], waiting[window.room :]
        window.put(taken)
        assert len(window) <= size
        most = next(limit)
        wave = window.wave(now, most)
        assert len(wave) <= most
        assert len({i.event.task_id for i in wave}) == len(wave)
        for each in wave:
            if put_off[each.event.id]:
                put_off[each.event.id] -= 1
                window.hold(each, now + 1.0)
            else:
                window.settle(each)
                out.append(each)
        if not wave:
            now += 1.0
    for job in "abcd":
        mine = [i.sequence for i in out if i.event.task_id == job]
        assert mine == sorted(mine)
        assert len(mine) == sum(1 for name, _ in events if name == job)
