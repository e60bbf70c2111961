"""`celery -A hivemind_worker worker`, with no more flags, on a real Redis and a real engine."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from celery import Celery

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import Job, State
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import Settings
from hivemind_worker.tasks import ONE_MAPPING, AssignmentRefused, hint_or_fields
from tests.builders import new_job, request
from tests.processes import environment, eventually, process, until, until_up, worker, worker_command

BUSYBOX = "localhost/hivemind-busybox:latest"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


@pytest.fixture
def running_worker(settings: Settings, stores: Stores, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    with worker(settings, stores, output) as child:
        yield child


def submit(stores: Stores, task_id: str, script: str, **given: object) -> None:
    """A job that no busy machine brings to its timeout before the test is done with it."""
    fields = {"timeout_seconds": 600.0} | given
    stores.jobs.create(new_job(task_id, image=BUSYBOX, command=("sh", "-c", script), **fields))


def artifact(stores: Stores, job: Job) -> dict[str, bytes]:
    assert job.outcome is not None
    assert job.outcome.artifact is not None
    with stores.artifacts.open(job.outcome.artifact.sha256) as file:
        archive = zipfile.ZipFile(io.BytesIO(file.read()))
    return {name: archive.read(name) for name in archive.namelist()}


def log_text(stores: Stores, task_id: str) -> bytes:
    return b"".join(chunk.data for chunk in stores.logs.read(task_id, 0, count=10_000))


def containers(engine: docker.DockerClient, task_id: str) -> list[str]:
    # The plain list: docker-py's own inspects each one, and fails for one that goes meanwhile.
    found = engine.api.containers(all=True, filters={"label": f"hivemind.task_id={task_id}"})
    return [container["Names"][0].removeprefix("/") for container in found]


def until_log(stores: Stores, task_id: str, words: bytes, timeout: float = 100) -> None:
    """Wait, told by the job's own channel, until its log has these words."""
    from hivemind_worker.store.wakeups import Ear

    ear = Ear(stores.redis, [stores.keys.changes(task_id)])
    try:
        end = time.monotonic() + timeout  # a job is told of often: counted, its changes would be over sooner
        while time.monotonic() < end:
            job = stores.jobs.get(task_id)
            if words in log_text(stores, task_id):  # looked at after the record: an ended job has written it all
                return
            assert not job.state.terminal, f"{task_id} ended without {words!r}: {job.outcome}"
            ear.listen(1.0)
    finally:
        ear.close()
    raise AssertionError(
        f"{words!r} never came; the log is {log_text(stores, task_id)!r}, the job {stores.jobs.get(task_id)}"
    )


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


def until_clean(engine: docker.DockerClient, settings: Settings, task_id: str) -> None:
    """Container and workspace go right after the outcome was recorded."""
    eventually(lambda: containers(engine, task_id) == [])
    eventually(lambda: list((settings.state / "workspaces").glob(f"{task_id}-*")) == [])


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


@pytest.mark.usefixtures("running_worker")
def test_a_plain_celery_client_may_send_a_job(stores: Stores, settings: Settings) -> None:
    plain = Celery("client", broker=settings.celery_broker)
    sent = plain.send_task("hivemind.run_job", [{"image": BUSYBOX, "command": ["echo", "plain"]}])
    until_known(stores, sent.id)
    assert until(stores, sent.id).state is State.COMPLETED
    assert log_text(stores, sent.id) == b"plain\n"
    assert stores.redis.llen("celery") == 0
    assert stores.redis.hlen("unacked") == 0
    plain.close()


def until_known(stores: Stores, task_id: str) -> None:
    """Wait for the first event of a job that somebody else makes."""
    last = "0-0"
    for _ in range(30):
        for event in stores.events.read(last, block=1.0):
            last = event.id
            if event.task_id == task_id:
                return
    raise AssertionError(f"{task_id} never became a job")


def control(settings: Settings, tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "celery", "-A", "hivemind_worker", "control", "--timeout", "10", *words]
    return subprocess.run(command, env=environment(settings), cwd=tmp_path, capture_output=True, text=True, timeout=60)


@pytest.mark.usefixtures("running_worker")
def test_celery_control_revokes_a_waiting_job_and_leaves_a_running_one_alone(
    stores: Stores, settings: Settings, tmp_path: Path
) -> None:
    submit(stores, "runs", "echo up; sleep 300")
    until_log(stores, "runs", b"up")
    submit(stores, "waits", "echo never", requests=request(cpu=stores.ledger.node("n1").allocatable.cpu))
    told = control(settings, tmp_path, "revoke", "waits", "runs", "unknown-id")
    assert told.returncode == 0, told.stderr
    assert until(stores, "waits").state is State.STOPPED
    assert stores.jobs.get("runs").state is State.RUNNING
    assert stores.jobs.get("runs").stop_grace is None
    control(settings, tmp_path, "terminate", "TERM", "runs")
    job = until(stores, "runs")
    assert job.outcome is not None
    assert (job.state, job.outcome.cause) == (State.STOPPED, Cause.CANCELLED)


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


@pytest.mark.usefixtures("running_worker")
def test_a_plain_clients_secrets_are_shown_nowhere(
    stores: Stores, settings: Settings, output: Path, tmp_path: Path
) -> None:
    plain = Celery("client", broker=settings.celery_broker)
    seen: list[dict[str, Any]] = []
    with plain.connection() as connection:
        receiver = plain.events.Receiver(connection, handlers={"*": seen.append})
        sent = plain.send_task(
            "hivemind.run_job", [{"image": BUSYBOX, "command": ["sh", "-c", "test $S"], "secrets": {"S": "hunter2"}}]
        )
        for _ in receiver.itercapture(limit=None, timeout=10, wakeup=False):
            if any(event["type"] == "task-succeeded" and event["uuid"] == sent.id for event in seen):
                break
    assert until(stores, sent.id).state is State.COMPLETED
    assert any(event["type"] == "task-received" for event in seen)
    assert "hunter2" not in repr(seen)
    assert "hunter2" not in output.read_text()
    plain.close()


@pytest.mark.usefixtures("running_worker")
def test_a_plain_clients_bad_job_is_refused_in_a_line_and_leaves_nothing(
    stores: Stores, settings: Settings, output: Path
) -> None:
    plain = Celery("client", broker=settings.celery_broker)
    bad = [{"image": BUSYBOX, "requests": {"cpu": -1}}, {"image": BUSYBOX, "task_id": "../x"}, "no mapping", 7]
    for spec in bad:
        plain.send_task("hivemind.run_job", [spec])
    for args in ([], [{"image": BUSYBOX}, "two"], [{"image": BUSYBOX}, 1, 2]):
        plain.send_task("hivemind.run_job", args)
    plain.send_task("hivemind.run_job", [{"image": BUSYBOX}], kwargs={"more": 1})
    good = plain.send_task("hivemind.run_job", [{"image": BUSYBOX, "command": ["true"]}])
    until_known(stores, good.id)
    until(stores, good.id)
    eventually(lambda: stores.redis.hlen("unacked") == 0 and stores.redis.llen("celery") == 0)
    assert stores.jobs.counts()["known"] == 1
    assert "Traceback" not in output.read_text()
    plain.close()


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ((), {}),
        (({}, "two"), {}),
        (({}, 1, 2), {}),
        (({},), {"more": 1}),
        (("t1", True), {}),
        (("t1",), {}),
        ((7,), {}),
    ],
)
def test_arguments_that_are_neither_hint_nor_assignment_are_refused_in_one_line(
    args: tuple[Any, ...], named: dict[str, Any]
) -> None:
    with pytest.raises(AssignmentRefused, match=f"^{re.escape(ONE_MAPPING)}$"):
        hint_or_fields(args, named)
    assert hint_or_fields(("t1", 2), {}) == ("t1", 2)
    assert hint_or_fields((), {"job": {"image": "x"}}) == ({"image": "x"}, None)


def test_what_is_no_message_ends_no_worker_and_is_dropped(
    running_worker: subprocess.Popen[bytes], stores: Stores, settings: Settings, output: Path
) -> None:
    """Not JSON, JSON of another kind, and messages that fail only once the consumer looks at them."""
    info = {"exchange": "", "routing_key": "celery"}
    task = {"task": "hivemind.run_job", "id": "x"}
    deep = "[" * 200_000
    garbage: list[Any] = [
        b"not a message", b"\xff\xfe", deep, "[]", "7", "{}",
        {"__type__": "bytes", "__value__": 7},
        {"properties": {"delivery_tag": "a"}},
        {"properties": {"delivery_tag": ["a"], "delivery_info": info}},
        {"properties": {"delivery_tag": "b", "delivery_info": info, "body_encoding": "rot13"}, "body": "hunter2"},
        {"properties": {"delivery_tag": "c", "delivery_info": info}, "headers": {**task, "timelimit": 7}, "body": "e"},
        {"properties": {"delivery_tag": "d", "delivery_info": info}, "headers": [], "body": "e"},
    ]  # fmt: skip
    stores.redis.rpush("celery", *(one if isinstance(one, str | bytes) else json.dumps(one) for one in garbage))
    eventually(lambda: stores.redis.llen("celery") == 0 or running_worker.poll() is not None)
    assert running_worker.poll() is None, output.read_text()[-3000:]
    plain = Celery("client", broker=settings.celery_broker)
    good = plain.send_task("hivemind.run_job", [{"image": BUSYBOX, "command": ["true"]}])
    until_known(stores, good.id)
    assert until(stores, good.id).state is State.COMPLETED
    eventually(lambda: stores.redis.hlen("unacked") == 0)
    assert running_worker.poll() is None
    assert output.read_text().count("dropped what is no message") == len(garbage) - 1  # Celery sees to one itself
    assert "hunter2" not in output.read_text()
    plain.close()


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
