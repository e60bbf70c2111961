"""The events as an outbox, on a real server: who leads, what is taken, what a gap leaves behind."""

from __future__ import annotations

import threading

import pytest
import redis

from hivemind_worker.bootstrap import Stores
from hivemind_worker.delivery.leader import RAN_OUT, Leader
from hivemind_worker.domain.job import State
from hivemind_worker.store.events import strange
from hivemind_worker.store.outbox import Outbox, Term, TermOver
from hivemind_worker.store.outbox_status import read_status
from hivemind_worker.store.recorded import Recorded
from hivemind_worker.store.walk import Walk
from tests.builders import new_job
from tests.processes import eventually

GROUP = "reports"


def outbox(stores: Stores, who: str = "p1", place: str = "n1", *, whole: bool = False) -> Outbox:
    return Outbox(stores.redis, stores.keys, GROUP, who=who, place=place, term=60, whole=whole)


def led(stores: Stores, who: str = "p1", place: str = "n1") -> Term:
    term = outbox(stores, who, place).lead(replace=True)
    assert term is not None
    return term


def submit(stores: Stores, *ids: str) -> None:
    stores.jobs.create_many([new_job(task_id) for task_id in ids])


# --- the lead -------------------------------------------------------------------------------------------------


def test_one_leads_at_a_time_and_another_place_waits(stores: Stores) -> None:
    first = led(stores)
    assert outbox(stores, "p2", "n2").lead(replace=True) is None
    assert outbox(stores, "p2", "n1").lead(replace=False) is None
    first.leave()
    second = outbox(stores, "p2", "n2").lead(replace=True)
    assert second is not None
    assert second.number > first.number


def test_a_term_taken_twice_by_the_same_process_is_one_term(stores: Stores) -> None:
    assert led(stores).number == led(stores).number


def test_a_successor_at_the_same_place_takes_the_lead_at_once(stores: Stores) -> None:
    killed = led(stores, "before")
    assert led(stores, "after").number > killed.number


def test_a_leader_that_was_replaced_changes_nothing_any_more(stores: Stores) -> None:
    stalled = led(stores, "stalled")
    submit(stores, "a")
    taken = stalled.take(10)
    now = led(stores, "now")
    for call in (
        lambda: stalled.take(10),
        lambda: stalled.settle([taken.events[0].id]),
        lambda: stalled.note(trouble="nonsense"),
    ):
        with pytest.raises(TermOver):
            call()
    stalled.leave()
    assert [event.task_id for event in now.take(10, after="0").events] == ["a"]
    assert read_status(stores.redis, stores.keys, GROUP).trouble == ""


def test_terms_go_on_upwards_after_redis_lost_its_data(stores: Stores, client: redis.Redis) -> None:
    before = led(stores, "before")
    client.flushall()
    eventually(lambda: stores.ledger.now_ms() > before.number)
    assert led(stores, "after").number > before.number


class _Slow:
    """A duty that does not manage a single step in its term."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self.seen: list[str] = []

    def serve(self, term: Term, stopping: threading.Event) -> None:
        self.seen.append(read_status(self._stores.redis, self._stores.keys, GROUP).trouble)
        eventually(lambda: not read_status(self._stores.redis, self._stores.keys, GROUP).led)
        term.note()

    def close(self) -> None:
        pass


def test_a_term_that_runs_out_is_told_as_such_not_as_anothers_lead(stores: Stores) -> None:
    duty = _Slow(stores)
    leader = Leader(Outbox(stores.redis, stores.keys, GROUP, who="p1", place="n1", term=0.1, whole=False), duty)
    leader.start()
    try:
        eventually(lambda: len(duty.seen) == 2)
    finally:
        leader.stop(30)
    assert duty.seen == ["", RAN_OUT]


# --- taking and settling ----------------------------------------------------------------------------------------


def test_what_was_taken_and_not_settled_is_taken_again_before_anything_new(stores: Stores) -> None:
    term = led(stores)
    submit(stores, "a", "b")
    first, second = term.take(10).events
    term.settle([first.id])
    submit(stores, "c")
    after = led(stores, "p2")
    assert [event.task_id for event in after.take(10, after="0").events] == ["b"]
    assert after.take(10, after=second.id).events == ()
    assert [event.task_id for event in after.take(10).events] == ["c"]


def test_settled_twice_is_counted_once(stores: Stores) -> None:
    term = led(stores)
    submit(stores, "a", "b")
    a, b = term.take(10).events
    for _ in range(2):
        term.settle([a.id], {b.id: "no use"})
    status = read_status(stores.redis, stores.keys, GROUP)
    assert (status.delivered, status.refused, status.lag_entries) == (1, 1, 0)
    assert status.delivered_at > 0


def test_what_is_set_aside_keeps_its_reason_within_a_bound(stores: Stores, client: redis.Redis) -> None:
    term = led(stores)
    for _ in range(3):
        submit(stores, *(f"j{i}" for i in range(800)))
        client.delete(*client.keys(stores.keys.job("*")))
        taken = term.take(800).events
        term.settle(aside={event.id: "no use" for event in taken})
    kept = client.xrange(stores.keys.set_aside(GROUP))
    assert len(kept) < 1200
    assert kept[-1][1] == {b"event": taken[-1].id.encode(), b"why": b"no use"}


def test_an_event_of_nobodys_making_is_read_and_called_strange(stores: Stores, client: redis.Redis) -> None:
    client.xadd(stores.keys.events, {"id": "t1", "state": "levitating", "attempt": "x", "at": "soon"})
    client.xadd(stores.keys.events, {"hello": "there"})
    client.xadd(stores.keys.events, {"id": b"\xff", "state": b"completed", b"\xfe": b"\xfd"})
    submit(stores, "fine")
    levitating, nameless, no_text, fine = stores.events.read("0-0", block=0)
    assert led(stores).take(10).events == (levitating, nameless, no_text, fine)
    assert "levitating" in strange(levitating)
    assert strange(nameless)
    assert strange(no_text)
    assert not strange(fine)
    assert (levitating.attempt, levitating.at) == (0, int(levitating.id.partition("-")[0]))


# --- gaps ---------------------------------------------------------------------------------------------------------


def test_events_trimmed_before_they_were_read_are_noticed(stores: Stores, client: redis.Redis) -> None:
    term = led(stores)
    submit(stores, "a")
    read = term.take(10).events[0]
    term.settle([read.id])
    submit(stores, "lost")
    submit(stores, "b")
    client.xtrim(stores.keys.events, maxlen=1, approximate=False)
    taken = term.take(10)
    assert taken.events == ()
    assert taken.resync is not None
    assert taken.resync.since == read.id
    submit(stores, "c")
    assert [event.task_id for event in term.take(10).events] == ["c"]
    assert read_status(stores.redis, stores.keys, GROUP).gaps == 1


def test_events_trimmed_after_they_were_taken_are_noticed(stores: Stores, client: redis.Redis) -> None:
    term = led(stores)
    submit(stores, "a", "b")
    a, b = term.take(10).events
    client.xtrim(stores.keys.events, maxlen=0, approximate=False)
    after = led(stores, "p2")
    taken = after.take(10, after="0")
    assert set(taken.gone) == {a.id, b.id}
    assert taken.resync is not None
    assert taken.resync.since <= a.id
    after.settle(taken.gone)
    assert after.take(10, after="0").gone == ()


def test_a_gap_begins_with_the_oldest_event_that_was_taken_and_is_gone(stores: Stores, client: redis.Redis) -> None:
    """The place that was read last is gone as well, and is noticed first: it is far younger."""
    term = led(stores)
    old = f"{stores.ledger.now_ms() - 3_600_000}-0"
    client.xadd(stores.keys.events, {"id": "old", "state": "completed", "attempt": "1"}, id=old)
    submit(stores, "a")
    assert len(term.take(10).events) == 2
    submit(stores, "b", "c")
    client.xtrim(stores.keys.events, maxlen=1, approximate=False)
    after = led(stores, "p2")
    taken = after.take(10, after="0")
    assert len(taken.gone) == 2
    assert taken.resync is not None
    assert taken.resync.since == old


@pytest.mark.parametrize("settle", [0, 1, 3])
def test_a_stream_that_is_lost_is_a_gap_from_the_oldest_unsettled_event_on(
    stores: Stores, client: redis.Redis, settle: int
) -> None:
    term = led(stores)
    submit(stores, "a", "b", "c")
    ids = [event.id for event in term.take(10).events]
    for event_id in [ids[0], ids[2], ids[1]][:settle]:
        term.settle([event_id])
    client.delete(stores.keys.events)
    term.settle([ids[1]])  # a call that was under way meanwhile
    submit(stores, "d")
    taken = led(stores, "p2").take(10)
    assert [event.task_id for event in taken.events] == ["d"]
    assert taken.resync is not None
    assert taken.resync.since == {0: "0-0", 1: ids[1], 3: ids[2]}[settle]
    assert read_status(stores.redis, stores.keys, GROUP).gaps == 1


def test_a_stream_trimmed_behind_the_reader_is_no_gap(stores: Stores, client: redis.Redis) -> None:
    term = led(stores)
    submit(stores, "a", "b", "c")
    term.settle([event.id for event in term.take(10).events])
    client.xtrim(stores.keys.events, maxlen=1, approximate=False)
    submit(stores, "d")
    taken = term.take(10)
    assert ([event.task_id for event in taken.events], taken.resync) == (["d"], None)


def test_a_walk_is_taken_up_where_the_last_leader_left_it(stores: Stores) -> None:
    submit(stores, "before")
    term = outbox(stores, whole=True).lead(replace=True)
    assert term is not None
    resync = term.take(10).resync
    assert resync is not None
    assert resync.place == ""
    term.walked(resync, "half")
    after = led(stores, "p2")
    again = after.take(10).resync
    assert again is not None
    assert again.place == "half"
    after.walked(again, None)
    assert after.take(10).resync is None


def test_a_second_gap_starts_the_walk_anew_from_the_first_ones_beginning(stores: Stores, client: redis.Redis) -> None:
    term = led(stores)
    submit(stores, "a")
    read = term.take(1).events[0]
    for _ in range(2):
        submit(stores, *(f"lost{i}" for i in range(3)))
        client.delete(*client.keys(stores.keys.job("*")))
        client.xtrim(stores.keys.events, maxlen=1, approximate=False)
        resync = term.take(1).resync
        assert resync is not None
        assert resync.since == read.id
        term.walked(resync, "half")
        submit(stores, "next")
        term.take(1)
    assert read_status(stores.redis, stores.keys, GROUP).gaps == 2


# --- the walk -----------------------------------------------------------------------------------------------------


def test_the_walk_meets_every_record_once_and_names_the_broken_ones(stores: Stores, client: redis.Redis) -> None:
    submit(stores, *(f"j{i:03}" for i in range(50)))
    client.hset(stores.keys.job("j007"), "spec", "{")
    walk, after, seen, broken = Walk(stores.redis, stores.keys), None, [], []
    while True:
        step = walk.step(after, 7)
        seen += [job.task_id for job in step.jobs]
        broken += step.broken
        if (after := step.after) is None:
            break
    assert len(seen) == len(set(seen)) == 49
    assert broken == ["j007"]
    assert step.newest == stores.events.last_id()


def test_a_record_that_cannot_be_read_is_listed_with_its_trouble_and_hides_no_other(
    stores: Stores, client: redis.Redis
) -> None:
    submit(stores, "a", "b", "c")
    client.hset(stores.keys.job("b"), mapping={"spec": "{", "state": "nowhere"})
    shown = {job.task_id: job.trouble for job in stores.jobs.list().jobs}
    assert (shown["a"], shown["c"]) == ("", "")
    assert "damaged" in shown["b"]
    assert client.zscore(stores.keys.index, "b") is not None


# --- status ---------------------------------------------------------------------------------------------------------


def test_a_group_nobody_ever_led_is_behind_by_nothing(stores: Stores) -> None:
    status = read_status(stores.redis, stores.keys, GROUP)
    assert (status.led, status.lag_entries, status.lag_seconds) == (False, 0, 0.0)


def test_the_lag_counts_what_is_taken_and_what_is_not(stores: Stores) -> None:
    term = led(stores)
    submit(stores, "a", "b", "c")
    term.take(1)
    term.note(trouble="the master is away")
    status = read_status(stores.redis, stores.keys, GROUP)
    assert (status.led, status.lag_entries, status.trouble) == (True, 3, "the master is away")
    assert status.lag_seconds >= 0
    term.note(trouble="")
    assert read_status(stores.redis, stores.keys, GROUP).trouble == ""


def test_the_record_of_an_ended_job_stays_longer_than_its_log_until_the_history_has_it(
    stores: Stores, client: redis.Redis
) -> None:
    submit(stores, "a")
    stores.jobs.cancel("a", 1.0)
    assert stores.jobs.get("a").state is State.STOPPED
    assert client.ttl(stores.keys.job("a")) > 30 * 86400
    recorded = Recorded(stores.redis, stores.keys, retention=7 * 86400)
    assert recorded.release(["a"]) == (True,)
    assert 6 * 86400 < client.ttl(stores.keys.job("a")) <= 7 * 86400
    submit(stores, "b")
    assert recorded.release(["b", "nobody"]) == (False, False)
    assert client.ttl(stores.keys.job("b")) == -1
