"""Which deaths of workers a job is blamed for, in the store and with workers that are really killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from hivemind_worker.admission.recovery import LONGEST_GAP
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import Job, State
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.poison import TRIAL
from hivemind_worker.domain.retry import Step
from hivemind_worker.settings import Settings
from tests.integration.test_lost_node import Told, Watcher
from tests.integration.test_store import admit, admitted
from tests.integration.test_worker import submit, until_log
from tests.processes import eventually, until, worker


def claim(stores: Stores, boot: str, worker: str = "w1", attempt: int = 1) -> Job:
    return stores.jobs.claim("t1", attempt, node="n1", worker=worker, boot=boot)


def test_each_boot_that_vanished_with_the_job_in_its_hands_counts_once(stores: Stores) -> None:
    admitted(stores)
    assert claim(stores, "boot1").downs == 0
    assert claim(stores, "boot1").downs == 0
    assert claim(stores, "boot2").downs == 1
    assert claim(stores, "boot2").downs == 1
    job = claim(stores, "boot3")
    assert job.downs == 2
    assert [who for _, who in job.downs_seen] == ["w1", "w1"]
    assert all(job.times.created <= at for at, _ in job.downs_seen)


def test_a_body_that_left_in_order_is_no_death(stores: Stores) -> None:
    admitted(stores)
    for boot in ("boot1", "boot2", "boot3"):
        job = claim(stores, boot)
        assert job.downs == 0
        stores.jobs.rest(job, boot="another")
        stores.jobs.rest(job, boot=boot)


def test_a_body_that_lived_on_clears_the_job_and_later_deaths_in_that_state_do_not_count(stores: Stores) -> None:
    admitted(stores)
    claim(stores, "boot1")
    claim(stores, "boot2")
    stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    stores.jobs.prove({"t1": 1}, worker="w1")
    assert stores.jobs.get("t1").downs == 0
    for boot in ("boot3", "boot4", "boot5", "boot6"):
        assert claim(stores, boot).downs == 0
    stores.jobs.advance("t1", 1, State.COLLECTING, worker="w1")
    assert claim(stores, "boot7").downs == 1


def test_another_hand_proves_nothing(stores: Stores) -> None:
    admitted(stores)
    claim(stores, "boot1")
    stores.jobs.prove({"t1": 1}, worker="w2")
    stores.jobs.prove({"t1": 2}, worker="w1")
    assert claim(stores, "boot2").downs == 1


def test_an_attempt_that_came_to_its_end_clears_the_job(stores: Stores) -> None:
    admitted(stores, retries=1)
    claim(stores, "boot1")
    job = claim(stores, "boot2")
    stores.jobs.retry(job, Outcome(cause=Cause.EXIT, exit_code=1), Step("failures"))
    admit(stores, attempt=2)
    assert claim(stores, "boot2", attempt=2).downs == 0


def test_bodies_are_proven_after_their_trial_and_not_before(stores: Stores) -> None:
    watcher = Watcher(stores)
    admitted(stores)
    claim(stores, "boot1", "w1")
    stores.redis.hset(stores.keys.job("t1"), "worker", "w2")
    watcher.running.enter("t1", Told())
    watcher.running.hold("t1", 1)
    watcher.healer._prove()
    watcher.now += TRIAL - 1
    watcher.healer._prove()
    assert stores.redis.hget(stores.keys.job("t1"), "trial") == b"boot1"
    watcher.now += LONGEST_GAP
    watcher.healer._prove()
    assert stores.redis.hget(stores.keys.job("t1"), "trial") is None


def test_a_job_that_takes_its_worker_down_three_times_is_given_up_and_leaves_nothing(
    settings: Settings, stores: Stores, tmp_path: Path
) -> None:
    output = tmp_path / "worker.log"
    for life in range(3):
        with worker(settings, stores, output) as child:
            if life == 0:
                submit(stores, "poison", "echo up; sleep 600")
                until_log(stores, "poison", b"up")
            eventually(lambda life=life: stores.jobs.get("poison").downs == life)  # type: ignore[misc]
            eventually(lambda: stores.redis.hget(stores.keys.job("poison"), "trial") is not None)
            os.kill(child.pid, signal.SIGKILL)
            child.wait(10)
    with worker(settings, stores, output):
        job = until(stores, "poison")
        assert job.outcome is not None
        assert (job.state, job.outcome.cause, job.infra_failures) == (State.FAILED, Cause.INTERNAL, 0)
        assert job.outcome.evidence.count("celery@w1 at ") == 3
        eventually(lambda: list((settings.state / "workspaces").glob("poison-*")) == [])
        submit(stores, "after", "echo ok")
        assert until(stores, "after").state is State.COMPLETED
