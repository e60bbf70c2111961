"""A worker that was stopped in its tracks and goes on later finds its jobs in other hands, and does no harm."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import State
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.retry import Step
from hivemind_worker.settings import Settings
from tests.integration.worker_kit import arm, containers, log_text, submit, until_log
from tests.processes import environment, eventually, process, until, worker, worker_command


@pytest.fixture
def pair(
    settings: Settings, stores: Stores, tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes], Path]]:
    """Two workers of one node, and where the first one's words go."""
    said = tmp_path / "w1.log"
    with worker(settings, stores, said, name="w1") as first:
        with process(worker_command("w2"), environment(settings), tmp_path / "w2.log") as second:
            eventually(lambda: len(stores.ledger.node(settings.node_id).workers) == 2)
            yield first, second, said
        first.send_signal(signal.SIGCONT)


def freeze(child: subprocess.Popen[bytes]) -> None:
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)


def on(stores: Stores, task_id: str, script: str, worker: str, others: subprocess.Popen[bytes]) -> None:
    """Have this worker run the job: the others look away for the moment."""
    freeze(others)
    submit(stores, task_id, script)
    until(stores, task_id, State.RUNNING)
    assert stores.jobs.get(task_id).worker == worker
    others.send_signal(signal.SIGCONT)


def test_a_worker_that_slept_past_its_lease_leaves_its_job_and_its_container_to_who_adopted_it(
    stores: Stores,
    engine: docker.DockerClient,
    pair: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes], Path],
) -> None:
    first, second, said = pair
    on(stores, "kept", "for i in $(seq 1 400); do echo line $i; sleep 0.1; done", "celery@w1", second)
    until_log(stores, "kept", b"line 3\n")
    freeze(first)
    eventually(lambda: stores.jobs.get("kept").worker == "celery@w2", timeout=60)
    container = engine.containers.get("hm-kept-1").id
    first.send_signal(signal.SIGCONT)
    eventually(lambda: "fenced off" in said.read_text() and "standing=adopted" in said.read_text())
    assert engine.containers.get("hm-kept-1").id == container
    job = until(stores, "kept")
    assert (job.state, job.attempt, job.worker) == (State.COMPLETED, 1, "celery@w2")
    assert log_text(stores, "kept") == b"".join(b"line %d\n" % i for i in range(1, 401))


def test_a_worker_that_slept_while_its_job_went_on_to_the_next_attempt_ends_its_own(
    settings: Settings,
    stores: Stores,
    engine: docker.DockerClient,
    pair: tuple[subprocess.Popen[bytes], subprocess.Popen[bytes], Path],
) -> None:
    first, second, said = pair
    script = 'echo "attempt $HIVEMIND_ATTEMPT"; [ "$HIVEMIND_ATTEMPT" = 2 ] || sleep 600'
    on(stores, "moved", script, "celery@w1", second)
    until_log(stores, "moved", b"attempt 1\n")
    freeze(first)
    held = stores.jobs.get("moved")
    assert stores.jobs.retry(held, Outcome(cause=Cause.NODE_LOST, evidence="by hand"), Step("infra_failures"))
    job = until(stores, "moved")
    assert (job.state, job.attempt, job.worker) == (State.COMPLETED, 2, "celery@w2")
    first.send_signal(signal.SIGCONT)
    eventually(lambda: containers(engine, "moved") == [])
    eventually(lambda: list((settings.state / "workspaces").glob("moved-*")) == [])
    eventually(lambda: "standing=over" in said.read_text())
    assert stores.jobs.get("moved") == job
    assert log_text(stores, "moved") == b"attempt 1\nattempt 2\n"
    assert first.poll() is None


def test_a_worker_that_slept_before_it_started_a_container_does_not_start_it_for_a_job_that_has_moved_on(
    settings: Settings, stores: Stores, engine: docker.DockerClient, tmp_path: Path
) -> None:
    armed, points = arm(tmp_path, "container-created", "freeze")
    said = tmp_path / "w1.log"
    with worker(settings, stores, said, name="w1", **points) as first:
        submit(stores, "late", 'echo "attempt $HIVEMIND_ATTEMPT"')
        eventually(lambda: list(armed.glob(".fired-*")))  # it waits there to be struck
        freeze(first)
        asleep = engine.containers.get("hm-late-1").id
        eventually(lambda: not stores.ledger.living(settings.node_id, ["celery@w1"]), timeout=60)
        held = stores.jobs.get("late")
        assert stores.jobs.retry(held, Outcome(cause=Cause.NODE_LOST, evidence="by hand"), Step("infra_failures"))
        first.send_signal(signal.SIGCONT)
        job = until(stores, "late")
        assert (job.state, job.attempt) == (State.COMPLETED, 2)
        eventually(lambda: containers(engine, "late") == [])
    happened = engine.events(since=0, until=int(time.time()) + 1, filters={"container": asleep}, decode=True)
    assert {event["Action"] for event in happened} == {"create", "attach", "destroy"}
    assert "standing=over" in said.read_text()
