"""`celery -A hivemind_worker worker`, with no more flags, on a real Redis and a real engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import docker
import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import State
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import Settings
from tests.builders import request
from tests.integration.worker_kit import artifact, containers, log_text, submit, until_clean, until_log
from tests.processes import environment, eventually, process, until, until_up, worker, worker_command


@pytest.mark.usefixtures("running_worker")
def test_a_job_that_fails_says_so_and_leaves_nothing(
    stores: Stores, settings: Settings, engine: docker.DockerClient
) -> None:
    submit(stores, "fails", "echo to stderr >&2; exit 7")
    job = until(stores, "fails")
    assert job.outcome is not None
    assert (job.state, job.outcome.cause, job.outcome.exit_code) == (State.FAILED, Cause.EXIT, 7)
    inside = artifact(stores, job)
    assert b"to stderr" in inside["execution_log.txt"]
    assert json.loads(inside["outcome.json"])["exit_code"] == 7
    until_clean(engine, settings, "fails")
    assert stores.ledger.rows(settings.node_id) == {}


@pytest.mark.usefixtures("running_worker")
def test_a_job_runs_and_its_output_and_files_come_back(stores: Stores) -> None:
    submit(stores, "good", "echo hello; echo data > result.txt; id -u")
    job = until(stores, "good")
    assert job.outcome is not None
    assert (job.state, job.outcome.cause, job.outcome.exit_code) == (State.COMPLETED, Cause.OK, 0)
    assert job.worker == "celery@w1"
    inside = artifact(stores, job)
    assert inside["result.txt"] == b"data\n"
    assert inside["execution_log.txt"].splitlines()[0] == b"hello"
    assert log_text(stores, "good") == inside["execution_log.txt"]
    assert b"\n0\n" not in inside["execution_log.txt"]


@pytest.mark.usefixtures("running_worker")
def test_a_running_job_is_stopped_on_request(stores: Stores) -> None:
    submit(stores, "endless", "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 1; done")
    until_log(stores, "endless", b"up")
    stores.jobs.cancel("endless", 5.0)
    job = until(stores, "endless")
    assert job.outcome is not None
    assert (job.state, job.outcome.cause) == (State.STOPPED, Cause.CANCELLED)
    assert b"asked" in artifact(stores, job)["execution_log.txt"]


@pytest.mark.usefixtures("running_worker")
def test_a_timeout_ends_a_job_of_its_own_cause(stores: Stores) -> None:
    submit(stores, "slow", "echo up; sleep 300", timeout_seconds=1.0)
    job = until(stores, "slow")
    assert job.outcome is not None
    assert (job.state, job.outcome.cause) == (State.FAILED, Cause.TIMEOUT)


@pytest.mark.usefixtures("running_worker")
def test_own_retries_are_used_and_counted(stores: Stores) -> None:
    submit(stores, "flaky", 'echo "attempt $HIVEMIND_ATTEMPT"; [ "$HIVEMIND_ATTEMPT" = 3 ]', retries=5)
    job = until(stores, "flaky")
    assert (job.state, job.attempt, job.failures) == (State.COMPLETED, 3, 2)
    assert [line for line in log_text(stores, "flaky").splitlines() if line.startswith(b"attempt")] == [
        b"attempt 1", b"attempt 2", b"attempt 3",
    ]  # fmt: skip


def test_caps_are_never_exceeded_and_everybody_runs(settings: Settings, stores: Stores, output: Path) -> None:
    with worker(settings, stores, output, MAX_CPU_CORES="2", MAX_CONCURRENT_TASKS="3"):
        for i in range(9):
            submit(stores, f"c{i}", "echo x", requests=request(cpu=0.5 + (i % 3) * 0.5))
        jobs = [until(stores, f"c{i}") for i in range(9)]
    assert {job.state for job in jobs} == {State.COMPLETED}
    held: dict[str, float] = {}
    for event in reversed(stores.events.recent(1000)):
        if event.state == "admitted":
            held[event.task_id] = stores.jobs.get(event.task_id).assignment.requests.cpu
        elif event.state in ("completed", "failed", "stopped", "waiting"):
            held.pop(event.task_id, None)
        assert sum(held.values()) <= 2
        assert len(held) <= 3


def test_a_worker_told_to_leave_lets_its_containers_run_and_takes_them_up_again(
    settings: Settings, stores: Stores, output: Path, engine: docker.DockerClient
) -> None:
    script = "for i in $(seq 1 40); do echo line $i; sleep 0.1; done; echo end > done.txt"
    with worker(settings, stores, output) as child:
        submit(stores, "long", script)
        until_log(stores, "long", b"line 3\n")
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
    assert stores.jobs.get("long").state is State.RUNNING
    assert containers(engine, "long") == ["hm-long-1"]
    with worker(settings, stores, output):
        job = until(stores, "long")
    assert (job.state, job.attempt) == (State.COMPLETED, 1)
    expected = b"".join(b"line %d\n" % i for i in range(1, 41))
    assert artifact(stores, job)["execution_log.txt"] == expected
    assert log_text(stores, "long") == expected


def test_a_killed_worker_loses_no_job_and_no_line(settings: Settings, stores: Stores, output: Path) -> None:
    script = "for i in $(seq 1 40); do echo line $i; sleep 0.1; done"
    with worker(settings, stores, output) as child:
        submit(stores, "killed", script)
        until_log(stores, "killed", b"line 3\n")
        os.kill(child.pid, signal.SIGKILL)
        child.wait(10)
    with worker(settings, stores, output):
        job = until(stores, "killed")
    assert (job.state, job.attempt) == (State.COMPLETED, 1)
    assert log_text(stores, "killed") == b"".join(b"line %d\n" % i for i in range(1, 41))


def test_a_twin_of_a_running_worker_is_refused_by_name(
    settings: Settings, output: Path, running_worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    twin = subprocess.run(
        worker_command(), env=environment(settings), cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert twin.returncode != 0
    assert "a worker named celery@w1" in twin.stderr
    assert running_worker.poll() is None


def test_a_bad_setting_stops_the_worker_with_one_line(settings: Settings, tmp_path: Path) -> None:
    env = environment(settings, MAX_CPU_CORES="plenty")
    bad = subprocess.run(worker_command(), env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert bad.returncode != 0
    assert "MAX_CPU_CORES" in bad.stderr
    assert "Traceback" not in bad.stderr


@pytest.mark.parametrize("name", ["CELERY_BROKER_URL", "CELERY_BROKER_READ_URL"])
def test_another_broker_than_the_ledgers_redis_stops_the_worker_with_one_line(
    settings: Settings, tmp_path: Path, name: str
) -> None:
    env = environment(settings, **{name: "redis://:hush@127.0.0.1:1/5"})
    bad = subprocess.run(worker_command(), env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert bad.returncode != 0
    assert "name that Redis with HIVEMIND_REDIS_URL" in bad.stderr
    assert "Traceback" not in bad.stderr
    assert "hush" not in bad.stderr


def test_jobs_wait_while_the_engine_is_away_and_none_fails_for_it(
    settings: Settings, stores: Stores, output: Path, tmp_path: Path
) -> None:
    link = tmp_path / "engine.sock"
    env = environment(settings, DOCKER_HOST=f"unix://{link}")
    with process(worker_command(), env, output) as child:
        until_up(stores, settings.node_id, child, output)
        submit(stores, "patient", "echo ok")
        assert "engine" in stores.ledger.node(settings.node_id).trouble
        assert stores.jobs.get("patient").state is State.WAITING
        link.symlink_to("/var/run/docker.sock")
        job = until(stores, "patient")
    assert job.state is State.COMPLETED


def test_a_redis_that_takes_no_writes_for_a_while_ends_neither_worker_nor_job(
    stores: Stores, running_worker: subprocess.Popen[bytes], output: Path, engine: docker.DockerClient
) -> None:
    submit(stores, "before", "echo up; sleep 3")
    until_log(stores, "before", b"up")
    stores.redis.config_set("min-replicas-to-write", 1)  # every write is refused, as with a full disk
    try:
        eventually(lambda: "redis is away" in output.read_text())
        eventually(lambda: not engine.api.containers(filters={"name": "hm-before-1"}))
        assert running_worker.poll() is None
    finally:
        stores.redis.config_set("min-replicas-to-write", 0)
    assert until(stores, "before").state is State.COMPLETED
    submit(stores, "after", "echo ok")
    assert until(stores, "after").state is State.COMPLETED
    assert running_worker.poll() is None


def test_a_dead_workers_jobs_are_adopted_by_its_sibling_with_the_same_container(
    settings: Settings, stores: Stores, output: Path
) -> None:
    script = "for i in $(seq 1 120); do echo line $i; sleep 0.1; done"
    with worker(settings, stores, output, name="w1") as first:
        submit(stores, "orphan", script)
        until_log(stores, "orphan", b"line 3\n")
        with process(worker_command("w2"), environment(settings), output):
            eventually(lambda: len(stores.ledger.node(settings.node_id).workers) == 2)
            os.kill(first.pid, signal.SIGKILL)
            first.wait(10)
            job = until(stores, "orphan")
    assert (job.state, job.attempt, job.worker) == (State.COMPLETED, 1, "celery@w2")
    assert log_text(stores, "orphan") == b"".join(b"line %d\n" % i for i in range(1, 121))
