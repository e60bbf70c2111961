"""The scripts on a real server: each all or nothing, each harmless when repeated, each refused to a stale attempt."""

from __future__ import annotations

import pytest
import redis

from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.errors import (
    AlreadyExists,
    InvalidField,
    NotFound,
    StaleAttempt,
    StoreUnavailable,
)
from hivemind_worker.domain.job import State
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.retry import Step
from hivemind_worker.settings import Settings
from hivemind_worker.store.ledger import WINDOW_FRONT
from tests.builders import assignment, new_job, request
from tests.integration.store_kit import FREE, OK, admit, admitted, announce, at_rest


def test_the_same_assignment_twice_is_one_job(stores: Stores) -> None:
    assert stores.jobs.create(new_job()) == ("created", State.WAITING)
    assert stores.jobs.create(new_job()) == ("same", State.WAITING)
    assert stores.jobs.counts() == {"waiting": 1, "active": 1, "known": 1}


def test_another_assignment_under_a_taken_id_is_refused_and_changes_nothing(stores: Stores) -> None:
    stores.jobs.create(new_job())
    with pytest.raises(AlreadyExists, match="t1"):
        stores.jobs.create(new_job(priority=9))
    with pytest.raises(AlreadyExists):
        stores.jobs.create(new_job(secrets={"K": "v"}))
    assert stores.jobs.get("t1").assignment.priority == 5


def test_secrets_are_sealed_in_redis_and_gone_after_the_end(stores: Stores, client: redis.Redis) -> None:
    admitted(stores, secrets={"TOKEN": "hunter2"})
    everything = b"".join(client.dump(key) or b"" for key in client.scan_iter())
    assert b"hunter2" not in everything
    assert stores.jobs.secrets("t1") == {"TOKEN": "hunter2"}
    job = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    stores.jobs.finish(job, OK)
    assert stores.jobs.secrets("t1") == {}


@pytest.mark.parametrize("secrets", [{}, {"TOKEN": "hunter2"}])
@pytest.mark.parametrize("logged", [False, True])
def test_a_claim_sees_whether_secrets_and_a_log_lie_beside_the_record(
    stores: Stores, secrets: dict[str, str], logged: bool
) -> None:
    admitted(stores, secrets=secrets)
    stores.jobs.claim("t1", 1, node="n1", worker="w1")
    if logged:
        stores.logs.say("t1", 1, "a word", worker="w1")
    job = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    assert (job.has_secrets, job.has_log) == (bool(secrets), logged)
    seen_by_nobody = stores.jobs.get("t1")
    assert seen_by_nobody.has_secrets
    assert seen_by_nobody.has_log


def test_redis_away_is_named(settings: Settings) -> None:
    nowhere = open_stores(settings.model_copy(update={"redis_url": None}))
    with pytest.raises(StoreUnavailable):
        nowhere.jobs.create(new_job())
    with pytest.raises(StoreUnavailable):
        nowhere.jobs.get("t1")
    nowhere.close()


def test_the_whole_way_of_a_job_leaves_nothing_held(stores: Stores, client: redis.Redis) -> None:
    admitted(stores)
    job = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    assert job.state is State.PREPARING
    stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    stores.jobs.advance("t1", 1, State.COLLECTING, worker="w1")
    stores.jobs.finish(job, OK)
    ended = stores.jobs.get("t1")
    assert (ended.state, ended.outcome) == (State.COMPLETED, OK)
    times = ended.times
    assert times.admitted is not None
    assert times.started is not None
    assert times.finished is not None
    assert times.created <= times.admitted <= times.started <= times.finished
    assert at_rest(client) == set()
    told = [(event.state, event.attempt) for event in reversed(stores.events.recent(10))]
    assert told == [
        ("waiting", 0), ("admitted", 1), ("preparing", 1), ("running", 1), ("collecting", 1), ("completed", 1),
    ]  # fmt: skip


def test_every_step_may_be_repeated(stores: Stores) -> None:
    admitted(stores)
    assert admit(stores) == "gone"
    job = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    again = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    assert again.state is State.RUNNING
    stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    stores.jobs.finish(job, OK)
    stores.jobs.finish(job, Outcome(cause=Cause.INTERNAL))
    assert stores.jobs.get("t1").outcome == OK


def test_no_step_goes_back(stores: Stores) -> None:
    admitted(stores)
    stores.jobs.claim("t1", 1, node="n1", worker="w1")
    stores.jobs.advance("t1", 1, State.COLLECTING, worker="w1")
    stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    assert stores.jobs.get("t1").state is State.COLLECTING


def test_another_worker_cannot_claim(stores: Stores) -> None:
    admitted(stores)
    with pytest.raises(StaleAttempt):
        stores.jobs.claim("t1", 1, node="n1", worker="w2")
    with pytest.raises(StaleAttempt):
        stores.jobs.claim("t1", 2, node="n1", worker="w1")


def test_a_retry_raises_the_attempt_and_fences_off_the_old_one(stores: Stores) -> None:
    admitted(stores, retries=1)
    old = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    assert stores.jobs.retry(old, Outcome(cause=Cause.EXIT, exit_code=1), Step("failures"))
    waiting = stores.jobs.get("t1")
    assert (waiting.state, waiting.failures, waiting.node) == (State.WAITING, 1, "")
    assert stores.ledger.rows("n1") == {}
    assert admit(stores, attempt=1) == "gone"
    assert admit(stores, attempt=2) == "ok"
    with pytest.raises(StaleAttempt):
        stores.jobs.finish(old, OK)
    with pytest.raises(StaleAttempt):
        stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    with pytest.raises(StaleAttempt):
        stores.jobs.retry(old, OK, Step("failures"))
    assert set(stores.ledger.rows("n1")) == {"t1"}


def test_a_job_asked_to_stop_is_not_given_back_to_the_line(stores: Stores) -> None:
    admitted(stores, retries=3)
    job = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    stores.jobs.cancel("t1", 2.0)
    assert stores.jobs.retry(job, Outcome(cause=Cause.EXIT), Step("failures")) is False
    assert stores.jobs.get("t1").state is State.PREPARING


def test_cancelling_a_waiting_job_ends_it_and_frees_its_place(stores: Stores, client: redis.Redis) -> None:
    stores.jobs.create(new_job(secrets={"K": "v"}))
    assert stores.jobs.cancel("t1", 5.0) == (True, State.STOPPED)
    ended = stores.jobs.get("t1")
    assert ended.outcome is not None
    assert ended.outcome.cause is Cause.CANCELLED
    assert at_rest(client) == set()
    assert stores.jobs.cancel("t1", 5.0) == (False, State.STOPPED)


def test_cancelling_a_held_job_records_the_first_grace_and_tells_its_node(stores: Stores, client: redis.Redis) -> None:
    admitted(stores)
    ear = client.pubsub(ignore_subscribe_messages=True)
    ear.subscribe(stores.keys.control("n1"))
    while ear.get_message(timeout=5) is not None:
        pass
    assert stores.jobs.cancel("t1", 3.0) == (True, State.ADMITTED)
    stores.jobs.cancel("t1", 99.0)
    assert stores.jobs.stop_graces(["t1", "t2"]) == {"t1": 3.0}
    told = ear.get_message(timeout=5)
    assert told is not None
    assert told["data"] == b"t1"
    ear.close()


@pytest.mark.parametrize("grace", [0.0, 5e-05, 1e16, 86400.0])
def test_every_grace_that_is_accepted_reaches_the_worker(stores: Stores, grace: float) -> None:
    admitted(stores)
    stores.jobs.cancel("t1", grace)
    assert stores.jobs.stop_graces(["t1"]) == {"t1": grace}


@pytest.mark.parametrize("grace", ["nan", "inf", "-1", "soon", b"\xff"])
def test_a_grace_that_is_no_number_of_seconds_is_none(stores: Stores, client: redis.Redis, grace: str | bytes) -> None:
    admitted(stores)
    client.hset(stores.keys.job("t1"), "stop_grace", grace)
    assert stores.jobs.stop_graces(["t1"]) == {}


def test_an_unknown_job_cannot_be_cancelled(stores: Stores) -> None:
    with pytest.raises(NotFound):
        stores.jobs.cancel("nobody", 1.0)


def test_the_line_is_ordered_by_priority_then_age_across_shapes(stores: Stores) -> None:
    stores.jobs.create(new_job("old"))
    stores.jobs.create(new_job("other-shape", requests=request(cpu=2.0)))
    stores.jobs.create(new_job("urgent", priority=9))
    stores.jobs.create(new_job("late", priority=0))
    assert [each.task_id for each in stores.ledger.window({"n1": FREE}).candidates] == [
        "urgent",
        "old",
        "other-shape",
        "late",
    ]
    assert stores.jobs.positions(["late", "urgent", "nobody"]) == {"late": 4, "urgent": 1}


def test_a_thousand_that_do_not_fit_hide_nothing(stores: Stores) -> None:
    stores.jobs.create_many([new_job(f"big{i}", requests=request(cpu=64.0)) for i in range(1000)])
    stores.jobs.create(new_job("small"))
    assert "small" in {each.task_id for each in stores.ledger.window({"n1": FREE}).candidates}


def test_pages_neither_repeat_nor_skip(stores: Stores) -> None:
    stores.jobs.create_many([new_job(f"j{i:03}", owner="ann" if i % 3 else "bob") for i in range(250)])
    seen: list[str] = []
    cursor = ""
    while True:
        page = stores.jobs.list(limit=70, cursor=cursor, owner="ann")
        seen += [job.task_id for job in page.jobs]
        cursor = page.next
        if not cursor:
            break
    assert len(seen) == len(set(seen)) == 166


def test_a_cursor_of_somebodys_making_is_refused(stores: Stores) -> None:
    with pytest.raises(InvalidField, match="cursor"):
        stores.jobs.list(cursor="nonsense")


def test_what_redis_has_forgotten_leaves_the_index(stores: Stores, client: redis.Redis) -> None:
    stores.jobs.create_many([new_job("a"), new_job("b")])
    client.delete(stores.keys.job("a"))
    assert [job.task_id for job in stores.jobs.list().jobs] == ["b"]
    assert client.zcard(stores.keys.index) == 1


def test_the_shape_of_the_record_survives_the_round_trip(stores: Stores) -> None:
    spec = assignment("t9", command=("echo", "ä\n"), env={"A": "b"}, owner="ann", retries=2, network="internet")
    stores.jobs.create(
        new_job("t9", command=("echo", "ä\n"), env={"A": "b"}, owner="ann", retries=2, network="internet")
    )
    assert stores.jobs.get("t9").assignment == spec


def test_a_thousand_that_do_not_fit_cost_a_look_at_the_front(stores: Stores) -> None:
    stores.jobs.create_many([new_job(f"big{i:04}", requests=request(cpu=64.0)) for i in range(1000)])
    assert [each.task_id for each in stores.ledger.window({"n1": FREE}).candidates] == [
        f"big{i:04}" for i in range(WINDOW_FRONT)
    ]


def test_pages_stay_whole_while_jobs_arrive_in_between(stores: Stores) -> None:
    stores.jobs.create_many([new_job(f"old{i:03}") for i in range(450)])
    seen: list[str] = []
    cursor = ""
    for n in range(20):
        page = stores.jobs.list(limit=50, cursor=cursor)
        seen += [job.task_id for job in page.jobs]
        stores.jobs.create_many([new_job(f"new{n}-{i}") for i in range(30)])
        if not (cursor := page.next):
            break
    assert len(seen) == len(set(seen)) == 450


def test_the_index_forgets_what_redis_has_forgotten(stores: Stores, client: redis.Redis) -> None:
    stores.jobs.create_many([new_job("a"), new_job("b")])
    client.delete(stores.keys.job("a"))
    stores.jobs.forget_expired()
    assert client.zrange(stores.keys.index, 0, -1) == [b"b"]


def test_a_full_redis_is_named_and_leaves_nothing(stores: Stores, client: redis.Redis) -> None:
    client.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable, match="full"):
            stores.jobs.create(new_job())
        with pytest.raises(StoreUnavailable):
            announce(stores)
    finally:
        client.config_set("maxmemory", "0")
    assert stores.jobs.counts()["known"] == 0
