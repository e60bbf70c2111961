"""What Celery's own clients may send to a worker and ask of it, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import State
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import Settings
from hivemind_worker.tasks import ONE_MAPPING, AssignmentRefused, hint_or_fields
from tests.builders import request
from tests.integration.worker_kit import BUSYBOX, log_text, submit, until_log
from tests.processes import environment, eventually, until


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
