"""A node that falls silent loses its jobs to the others of its site; one that is cut off may stop its own."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import docker
import pytest
import redis

from hivemind_worker.admission.healer import Healer, Rules
from hivemind_worker.admission.hinter import Hinter
from hivemind_worker.admission.recovery import LONGEST_GAP
from hivemind_worker.admission.running import Running
from hivemind_worker.admission.sweep import Sweep
from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.errors import StaleAttempt
from hivemind_worker.domain.job import Job, State, view
from hivemind_worker.domain.line import Claim
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import Settings, load_settings
from hivemind_worker.store.logs import Chunk, Stream
from tests.builders import assignment, new_job, row
from tests.integration.store_kit import OK, admitted, announce
from tests.integration.test_worker_fenced import freeze
from tests.integration.worker_kit import containers, log_text, submit, until_log
from tests.processes import environment, eventually, process, until, worker, worker_command
from tests.redis_server import OwnRedis


@dataclass
class Told:
    """A handle that only remembers what it was told."""

    words: list[str] = field(default_factory=list)

    def stop(self, grace: float) -> None:
        self.words.append("stop")

    def detach(self) -> None:
        self.words.append("detach")

    def fence(self) -> None:
        self.words.append("fence")

    def cut_off(self) -> None:
        self.words.append("cut off")


class Watcher:
    """The healing half of a worker of n2, with a clock that the test moves."""

    def __init__(self, stores: Stores, *, after: float = 60.0, budget: int = 3, beat: float = 2.0) -> None:
        self.stores = stores
        self.now, self.beat = 1000.0, beat
        self.running: Running[Told] = Running()
        self.healer = Healer(
            jobs=stores.jobs,
            ledger=stores.ledger,
            audit=stores.audit,
            sweep=Sweep(stores.audit, worker="w2", beat=beat),
            running=self.running,
            hinter=Hinter(lambda task_id, attempt: None, beat),
            node="n2",
            worker="w2",
            boot="boot of w2",
            rules=Rules(node_lost_after=after, budget=budget, backoff=5.0, beat=beat),
            deaf=lambda: None,
            clock=lambda: self.now,
        )

    def watch(self, seconds: float, *, n1: bool = False) -> None:
        """Heal at every beat for so long; n2 beats, n1 if it lives."""
        for _ in range(int(seconds // self.beat)):
            announce(self.stores, "n2", "w2")
            if n1:
                announce(self.stores, "n1", "w1")
            self.healer.heal()
            self.now += self.beat


def started(stores: Stores, **given: object) -> Job:
    admitted(stores, **given)
    job = stores.jobs.claim("t1", 1, node="n1", worker="w1")
    stores.jobs.advance("t1", 1, State.RUNNING, worker="w1")
    return job


def test_the_jobs_of_a_node_that_stays_silent_go_back_to_the_line(stores: Stores) -> None:
    old = started(stores)
    stores.logs.append("t1", [Chunk(1, Stream.STDOUT, b"so far\n", 0, 1)], worker="w1")
    watcher = Watcher(stores)
    watcher.watch(58)
    assert stores.jobs.get("t1").state is State.RUNNING
    watcher.watch(6)
    job = stores.jobs.get("t1")
    assert (job.state, job.infra_failures, job.failures, job.node) == (State.WAITING, 1, 0, "")
    assert view(job)["attempts"][0]["cause"] == "node_lost"
    assert stores.ledger.rows("n1") == {}
    assert [chunk.data for chunk in stores.logs.read("t1", 0)] == [
        b"so far\n", b"[hivemind] node n1 was lost: what attempt 1 wrote since is missing here\n",
    ]  # fmt: skip
    with pytest.raises(StaleAttempt):
        stores.jobs.finish(old, OK)
    newest = stores.events.recent(1)[0]
    assert (newest.state, newest.cause, newest.attempt) == ("waiting", "node_lost", 1)


def test_an_attempt_of_which_no_line_arrived_is_marked_as_missing_too(stores: Stores) -> None:
    started(stores)
    Watcher(stores).watch(64)
    assert stores.jobs.get("t1").state is State.WAITING
    (only,) = stores.logs.read("t1", 0)
    assert only.data == b"[hivemind] node n1 was lost: what attempt 1 wrote since is missing here\n"
    assert (only.number, only.attempt, only.stream) == (1, 1, Stream.NOTICE)


def test_an_attempt_that_was_not_taken_up_is_missing_nothing(stores: Stores) -> None:
    announce(stores)
    stores.jobs.create(new_job())
    assert stores.ledger.reserve("n1", "w1", [Claim("t1", assignment().line, row(1, "w1"))]) == ["ok"]
    Watcher(stores).watch(64)
    assert stores.jobs.get("t1").state is State.WAITING
    assert stores.logs.read("t1", 0) == []


def test_a_lost_node_is_found_by_one_whose_beat_is_long(stores: Stores) -> None:
    started(stores)
    watcher = Watcher(stores, after=120.0, beat=25.0)
    watcher.watch(100)
    assert stores.jobs.get("t1").state is State.RUNNING
    watcher.watch(50)
    assert stores.jobs.get("t1").state is State.WAITING


def test_a_node_that_beats_keeps_its_jobs_whichever_of_its_workers_beats(stores: Stores) -> None:
    started(stores)
    watcher = Watcher(stores)
    watcher.watch(50)
    announce(stores, "n1", "another worker of n1")
    watcher.watch(50)
    assert stores.jobs.get("t1").state is State.RUNNING


def test_time_in_which_redis_was_away_or_the_watcher_slept_does_not_count(stores: Stores) -> None:
    started(stores)
    watcher = Watcher(stores)
    watcher.watch(50)
    watcher.healer.redis_is_away()
    watcher.watch(50)
    watcher.now += LONGEST_GAP + 100
    watcher.watch(50)
    assert stores.jobs.get("t1").state is State.RUNNING


def test_a_heartbeat_at_the_last_moment_keeps_the_job(stores: Stores) -> None:
    job = started(stores)
    heartbeat = stores.ledger.heartbeats()["n1"]
    announce(stores)
    assert stores.ledger.heartbeats()["n1"] != heartbeat
    assert not stores.jobs.lose(job, OK, None, heartbeat=heartbeat)
    assert stores.jobs.get("t1").state is State.RUNNING


def test_a_lost_job_ends_when_the_infrastructures_budget_is_used_up(stores: Stores) -> None:
    started(stores, retries=5)
    watcher = Watcher(stores, budget=0)
    watcher.watch(70)
    job = stores.jobs.get("t1")
    assert job.outcome is not None
    assert (job.state, job.outcome.cause, job.failures) == (State.FAILED, Cause.NODE_LOST, 0)
    assert "n1" in job.outcome.evidence


def test_a_lost_job_that_was_asked_to_stop_is_stopped(stores: Stores) -> None:
    started(stores)
    stores.jobs.cancel("t1", 1.0)
    Watcher(stores).watch(70)
    job = stores.jobs.get("t1")
    assert job.outcome is not None
    assert (job.state, job.outcome.cause) == (State.STOPPED, Cause.CANCELLED)
    assert stores.ledger.rows("n1") == {}


def test_a_body_is_told_when_its_attempt_is_anothers_and_only_then(stores: Stores, client: redis.Redis) -> None:
    announce(stores, "n2", "w2")
    stores.jobs.create(new_job())
    watcher, handle = Watcher(stores), Told()
    assert stores.ledger.reserve("n2", "w2", [Claim("t1", assignment().line, row(1, "w2"))]) == ["ok"]
    watcher.running.enter("t1", handle)
    watcher.watch(2)
    stores.jobs.claim("t1", 1, node="n2", worker="w2")
    watcher.running.hold("t1", 1)
    watcher.watch(2)
    assert handle.words == []
    client.hset(stores.keys.job("t1"), mapping={"worker": "w3"})
    theirs = stores.ledger.rows("n2")["t1"].model_copy(update={"worker": "w3"}).model_dump_json()
    client.hset(stores.keys.job("t1"), "row", theirs)
    watcher.watch(2)
    assert handle.words == ["fence"]
    watcher.running.release("t1")
    watcher.watch(2)
    assert handle.words == ["fence"]


# --- real workers -------------------------------------------------------------------------------------------------


QUICK = {"HIVEMIND_BEAT": "0.5", "HIVEMIND_HEARTBEAT_TIMEOUT": "2", "HIVEMIND_NODE_LOST_AFTER": "4"}
STOPS = {"HIVEMIND_ON_PARTITION": "stop", "HIVEMIND_STOP_GRACE": "1"}


@pytest.mark.timeout(400)
def test_a_node_that_returns_finds_its_jobs_elsewhere_and_ends_its_own_containers(
    settings: Settings, stores: Stores, engine: docker.DockerClient, tmp_path: Path, redis_url: str
) -> None:
    other = load_settings(state=tmp_path / "state2", redis_url=redis_url, node_id="n2")
    script = 'echo "attempt $HIVEMIND_ATTEMPT"; [ "$HIVEMIND_ATTEMPT" = 2 ] || sleep 600'
    with worker(settings, stores, tmp_path / "n1.log", **QUICK) as first:
        submit(stores, "moves", script)
        until_log(stores, "moves", b"attempt 1\n")
        with worker(other, stores, tmp_path / "n2.log", name="w2", **QUICK):
            freeze(first)
            try:
                job = until(stores, "moves", timeout=120)
            finally:
                first.send_signal(signal.SIGCONT)
            assert (job.state, job.attempt, job.node, job.infra_failures) == (State.COMPLETED, 2, "n2", 1)
            eventually(lambda: containers(engine, "moves") == [])
            eventually(lambda: list((settings.state / "workspaces").glob("moves-*")) == [])
            assert stores.jobs.get("moves") == job
            assert first.poll() is None
    assert log_text(stores, "moves").splitlines() == [
        b"attempt 1", b"[hivemind] node n1 was lost: what attempt 1 wrote since is missing here", b"attempt 2",
    ]  # fmt: skip


@pytest.mark.timeout(400)
@pytest.mark.parametrize("away", ["down", "frozen"])
def test_a_node_cut_off_from_redis_stops_its_containers_and_the_job_starts_anew(
    settings: Settings, engine: docker.DockerClient, tmp_path: Path, away: str
) -> None:
    own = OwnRedis(tmp_path)
    own.up()
    leave, come_back = own.down, own.up
    if away == "frozen":
        leave, come_back = partial(own.signal, signal.SIGSTOP), partial(own.signal, signal.SIGCONT)
    here = load_settings(state=tmp_path / "state", redis_url=own.url, node_id="n1")
    stores = open_stores(here)
    script = 'echo "attempt $HIVEMIND_ATTEMPT"; [ "$HIVEMIND_ATTEMPT" = 2 ] || sleep 600'
    try:
        with worker(here, stores, tmp_path / "n1.log", **QUICK, **STOPS) as child:
            submit(stores, "alone", script)
            until_log(stores, "alone", b"attempt 1\n")
            leave()
            eventually(lambda: "containers are stopped" in (tmp_path / "n1.log").read_text())
            eventually(lambda: not engine.api.containers(filters={"name": "hm-alone-1"}))
            come_back()
            job = until(stores, "alone", timeout=120)
            assert child.poll() is None
        assert (job.state, job.attempt) == (State.COMPLETED, 2)
        assert job.past[0].cause == "node_lost"
        assert "cut off from Redis" in job.past[0].evidence
    finally:
        stores.close()
        own.down()


@pytest.mark.timeout(400)
def test_a_worker_that_is_killed_and_back_while_cut_off_stops_its_containers_too(
    engine: docker.DockerClient, tmp_path: Path
) -> None:
    own = OwnRedis(tmp_path)
    own.up()
    here = load_settings(state=tmp_path / "state", redis_url=own.url, node_id="n1")
    stores = open_stores(here)
    script = 'echo "attempt $HIVEMIND_ATTEMPT"; [ "$HIVEMIND_ATTEMPT" = 2 ] || sleep 600'
    try:
        with worker(here, stores, tmp_path / "n1.log", **QUICK, **STOPS) as child:
            submit(stores, "alone", script)
            until_log(stores, "alone", b"attempt 1\n")
            own.down()
            child.kill()
            child.wait(10)
        with process(worker_command(), environment(here, **QUICK, **STOPS), tmp_path / "n1.log") as child:
            eventually(lambda: not engine.api.containers(filters={"name": "hm-alone-1"}))
            assert "containers are stopped" in (tmp_path / "n1.log").read_text()
            own.up()
            job = until(stores, "alone", timeout=120)
            assert child.poll() is None
        assert (job.state, job.attempt) == (State.COMPLETED, 2)
        assert job.past[0].cause == "node_lost"
        assert "cut off from Redis" in job.past[0].evidence
    finally:
        stores.close()
        own.down()
