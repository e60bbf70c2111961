"""The fence in the store: an attempt that is in other hands by now writes nothing any more, whatever it tries."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import AdoptedAttempt, StaleAttempt
from hivemind_worker.domain.fence import standing
from hivemind_worker.domain.job import Job, State, view
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.retry import Step
from hivemind_worker.store.logs import Chunk, Stream
from tests.integration.store_kit import FREE, OK, admit, admitted

WRITES: dict[str, Callable[[Stores, Job], object]] = {
    "advance": lambda stores, job: stores.jobs.advance("t1", 1, State.COLLECTING, worker="w1"),
    "finish": lambda stores, job: stores.jobs.finish(job, OK),
    "retry": lambda stores, job: stores.jobs.retry(job, OK, Step("failures")),
    "log": lambda stores, job: stores.logs.append("t1", [chunk(1)], worker="w1"),
}
all_writes = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())


def chunk(number: int, data: bytes = b"late\n", attempt: int = 1) -> Chunk:
    return Chunk(number, Stream.STDOUT, data, 0, attempt, stdout_end=number)


def running(stores: Stores, **given: object) -> Job:
    """t1 runs in the hands of w1."""
    admitted(stores, **given)
    job = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    return job


def adopted(stores: Stores, client: redis.Redis) -> Job:
    """t1, which w1 believes to run, is w2's."""
    job = running(stores)
    client.delete(stores.keys.lease("n1", "w1"))
    assert stores.ledger.adopt("n1", "t1", stores.ledger.rows("n1")["t1"], "w2")
    return job


def everything(client: redis.Redis) -> dict[bytes, bytes | None]:
    return {key: client.dump(key) for key in client.scan_iter() if b"lease" not in key}


@all_writes
def test_a_sibling_that_adopted_the_attempt_is_the_only_one_to_write(
    stores: Stores, client: redis.Redis, write: Callable[[Stores, Job], object]
) -> None:
    job = adopted(stores, client)
    before = everything(client)
    with pytest.raises(AdoptedAttempt):
        write(stores, job)
    assert everything(client) == before
    assert standing(stores.jobs.get("t1"), 1, "w1") == "adopted"
    assert standing(stores.jobs.get("t1"), 1, "w2") == "mine"


@all_writes
def test_an_attempt_that_was_followed_by_another_writes_nothing(
    stores: Stores, client: redis.Redis, write: Callable[[Stores, Job], object]
) -> None:
    job = running(stores)
    stores.jobs.retry(job, Outcome(cause=Cause.ENGINE), Step("infra_failures"))
    assert admit(stores, attempt=2) == "ok"
    before = everything(client)
    with pytest.raises(StaleAttempt) as refused:
        write(stores, job)
    assert not isinstance(refused.value, AdoptedAttempt)
    assert everything(client) == before
    assert standing(stores.jobs.get("t1"), 1, "w1") == "over"


@all_writes
def test_a_record_that_is_gone_takes_no_write(
    stores: Stores, client: redis.Redis, write: Callable[[Stores, Job], object]
) -> None:
    job = running(stores)
    client.delete(stores.keys.job("t1"))
    with pytest.raises(StaleAttempt):
        write(stores, job)
    assert not client.exists(stores.keys.job("t1"), stores.keys.log("t1"))
    assert standing(None, 1, "w1") == "over"


def test_who_ended_a_job_may_say_so_again_and_nobody_else(stores: Stores, client: redis.Redis) -> None:
    stale = adopted(stores, client)
    mine = stores.jobs.claim("t1", 1, node="n1", worker="w2")
    stores.jobs.finish(mine, OK)
    stores.jobs.finish(mine, OK)
    with pytest.raises(AdoptedAttempt):
        stores.jobs.finish(stale, Outcome(cause=Cause.EXIT, exit_code=1))
    assert stores.jobs.get("t1").outcome == OK


def test_a_retry_whose_answer_was_lost_is_repeated_and_charged_once(stores: Stores) -> None:
    job = running(stores)
    for _ in range(2):
        assert stores.jobs.retry(job, Outcome(cause=Cause.ENGINE), Step("infra_failures"))
    assert stores.jobs.get("t1").infra_failures == 1


def test_the_rest_of_a_log_may_follow_a_retry_until_the_next_attempt_begins(stores: Stores) -> None:
    job = running(stores)
    stores.jobs.retry(job, Outcome(cause=Cause.ENGINE), Step("infra_failures"))
    stores.logs.append("t1", [chunk(1)], worker="w1")
    with pytest.raises(StaleAttempt):
        stores.logs.append("t1", [chunk(2)], worker="w2")
    admit(stores, attempt=2)
    with pytest.raises(StaleAttempt):
        stores.logs.append("t1", [chunk(2)], worker="w1")
    assert len(stores.logs.read("t1", 0)) == 1


def test_the_rest_of_a_log_may_follow_the_end(stores: Stores) -> None:
    job = running(stores)
    stores.jobs.finish(job, OK)
    stores.logs.append("t1", [chunk(1)], worker="w1")
    assert len(stores.logs.read("t1", 0)) == 1
    kept = [stores.redis.ttl(key) for key in (stores.keys.job("t1"), stores.keys.log("t1"))]
    assert 0 < kept[1] <= kept[0]


def test_chunks_that_are_there_already_stay_as_they_are(stores: Stores) -> None:
    running(stores)
    stores.logs.append("t1", [chunk(1, b"one\n"), chunk(2, b"two\n")], worker="w1")
    stores.logs.append("t1", [chunk(2, b"again\n"), chunk(3, b"three\n")], worker="w1")
    assert [each.data for each in stores.logs.read("t1", 0)] == [b"one\n", b"two\n", b"three\n"]


def test_bytes_that_are_no_text_survive_the_log(stores: Stores) -> None:
    running(stores)
    data = bytes(range(256))
    stores.logs.append("t1", [chunk(1, data)], worker="w1")
    assert stores.logs.read("t1", 0) == [chunk(1, data)]


# --- what an attempt leaves in the record --------------------------------------------------------------------


def test_a_delayed_job_is_no_candidate_hides_nobody_and_comes_back_when_its_time_has_come(
    stores: Stores, client: redis.Redis
) -> None:
    job = running(stores)
    stores.jobs.retry(job, Outcome(cause=Cause.ENGINE), Step("infra_failures", delay=3600))
    waiting = stores.jobs.get("t1")
    assert waiting.not_before is not None
    assert waiting.not_before > stores.ledger.now_ms()
    assert stores.ledger.window({"n1": FREE}).candidates == ()
    assert stores.jobs.positions(["t1"]) == {"t1": 1}
    assert stores.ledger.promote() == 0
    client.zadd(stores.keys.delayed, {"t1": 1})
    assert stores.ledger.promote() == 1
    assert [each.task_id for each in stores.ledger.window({"n1": FREE}).candidates] == ["t1"]
    assert stores.jobs.get("t1").not_before is None
    assert admit(stores, attempt=2) == "ok"


def test_a_delayed_job_can_be_stopped_and_leaves_nothing(stores: Stores, client: redis.Redis) -> None:
    job = running(stores)
    stores.jobs.retry(job, Outcome(cause=Cause.ENGINE), Step("infra_failures", delay=3600))
    assert stores.jobs.cancel("t1", 1.0) == (True, State.STOPPED)
    assert client.exists(stores.keys.delayed) == 0
    assert stores.ledger.promote() == 0
    assert stores.jobs.counts()["waiting"] == 0


def test_past_attempts_are_told_the_newest_few(stores: Stores) -> None:
    admitted(stores, retries=100)
    for attempt in range(1, 16):
        job = stores.jobs.claim("t1", attempt, node="n1", worker="w1")
        stores.jobs.retry(
            job, Outcome(cause=Cause.EXIT, exit_code=attempt, evidence=f"end {attempt}"), Step("failures")
        )
        admit(stores, attempt=attempt + 1)
    shown = view(stores.jobs.get("t1"))["attempts"]
    assert [each["attempt"] for each in shown] == [*range(6, 16), 16]
    assert (shown[0]["cause"], shown[0]["exit_code"], shown[0]["evidence"]) == ("exit", 6, "end 6")
    assert (shown[0]["node"], shown[0]["worker"]) == ("n1", "w1")
    assert shown[0]["admitted"] <= shown[0]["finished"]
    assert shown[-1]["cause"] is None


def test_a_job_that_waits_for_its_next_attempt_shows_the_ones_before(stores: Stores) -> None:
    job = running(stores)
    stores.jobs.retry(job, Outcome(cause=Cause.ENGINE, evidence="the engine broke"), Step("infra_failures"))
    shown = view(stores.jobs.get("t1"))
    assert shown["cause"] is None
    assert [each["evidence"] for each in shown["attempts"]] == ["the engine broke"]
