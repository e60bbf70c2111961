"""Which deaths of workers a job is blamed for, in the store and with workers that are really killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from hivemind_worker.admission.suspects import Suspects
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import Job, State
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.poison import TRIAL
from hivemind_worker.domain.retry import Step
from hivemind_worker.settings import Settings
from tests.builders import new_job
from tests.integration.store_kit import admit, admitted
from tests.integration.worker_kit import log_text, submit, until_log
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
        stores.jobs.rest({"t1": job.attempt}, boot="another")
        stores.jobs.rest({"t1": job.attempt}, boot=boot)


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


def test_only_what_was_taken_up_last_is_blamed(stores: Stores) -> None:
    admitted(stores)
    stores.jobs.create(new_job("t2"))
    assert admit(stores, "t2") == "ok"
    claim(stores, "boot1")
    stores.redis.hincrby(stores.keys.job("t1"), "trial_at", -5000)
    stores.jobs.claim("t2", 1, node="n1", worker="w1", boot="boot1")
    assert claim(stores, "boot2").downs == 0
    assert stores.jobs.claim("t2", 1, node="n1", worker="w1", boot="boot2").downs == 1


def suspects(stores: Stores, boot: str, born: float = 0.0) -> Suspects:
    return Suspects(stores.jobs, worker="w1", boot=boot, limit=3, born=born)


def on_its_last_chance(stores: Stores) -> None:
    admitted(stores)
    for boot in ("boot1", "boot2", "boot3"):
        claim(stores, boot)
    assert stores.jobs.downs(["t1"]) == {"t1": 2}


def test_bodies_clear_their_jobs_after_their_trial_and_not_before(stores: Stores) -> None:
    admitted(stores)
    claim(stores, "boot1")
    here = suspects(stores, "boot1")
    here.clear({"t1": 1}, 1000.0)
    here.clear({"t1": 1}, 1000.0 + TRIAL - 1)
    assert stores.redis.hget(stores.keys.job("t1"), "trial") == b"boot1"
    here.clear({"t1": 1}, 1000.0 + TRIAL)
    assert stores.redis.hget(stores.keys.job("t1"), "trial") is None


def test_a_job_on_its_last_chance_waits_until_its_worker_has_lived_without_it(stores: Stores) -> None:
    on_its_last_chance(stores)
    here = suspects(stores, "boot4")
    assert here.due(["t1"], {"t1": 1}, TRIAL - 1) == ()
    assert here.due(["t1"], {"t1": 1}, TRIAL) == ("t1",)
    assert claim(stores, "boot4").downs == 3


def test_a_worker_that_dies_without_the_job_acquits_it(stores: Stores) -> None:
    on_its_last_chance(stores)
    assert suspects(stores, "boot4").due(["t1"], {"t1": 1}, 1.0) == ()
    assert suspects(stores, "boot5").due(["t1"], {"t1": 1}, 1.0) == ("t1",)
    assert claim(stores, "boot5").downs == 0


def test_a_worker_that_dies_with_the_job_does_not_acquit_it(stores: Stores) -> None:
    admitted(stores)
    for boot in ("boot1", "boot2"):
        claim(stores, boot)
    stores.redis.hset(stores.keys.job("t1"), "downs", 2)
    assert suspects(stores, "boot2").due(["t1"], {"t1": 1}, 1.0) == ()
    assert suspects(stores, "boot3").due(["t1"], {"t1": 1}, 1.0) == ()


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
        job = until(stores, "poison", timeout=90)
        assert job.outcome is not None
        assert (job.state, job.outcome.cause, job.infra_failures) == (State.FAILED, Cause.INTERNAL, 0)
        assert job.outcome.evidence.count("celery@w1 at ") == 3
        assert b"is given up" in log_text(stores, "poison")
        eventually(lambda: list((settings.state / "workspaces").glob("poison-*")) == [])
        submit(stores, "after-poison", "echo ok")
        assert until(stores, "after-poison").state is State.COMPLETED
