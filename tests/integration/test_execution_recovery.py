"""Workers that leave or are killed: the next one takes the job up as it is, and no line of it is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hivemind_worker.domain.job import State
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.domain.resources import MIB
from hivemind_worker.execution.handle import Handle
from hivemind_worker.execution.launch import ContainerLost, StartUnknown
from hivemind_worker.store.logs import Stream

from .execution_kit import COUNT, COUNTED, GATED, Kit, go, left_running, python, until, workspace_of

# docker-py leaves a Unix socket that fails to connect to the garbage collector, which complains.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_a_worker_that_leaves_and_comes_back_misses_nothing(kit: Kit) -> None:
    job = kit.job(*python(COUNT))
    job = left_running(kit, job, once=lambda: len(kit.live(job)) > 40, what="some output")
    kit.runner.close()
    kit.runner = kit.new_runner()
    prepared, ended = kit.run(job)
    assert (ended.cause, ended.exit_code) == (Cause.OK, 0)
    assert kit.live(job) == COUNTED
    assert kit.live(job, Stream.STDERR) == COUNTED
    assert kit.live(job, Stream.NOTICE) == b""
    assert sorted(prepared.workspace.log.read_bytes().split()) == sorted(COUNTED.split() * 2)
    assert ended.log.bytes == 2 * len(COUNTED)


def test_a_job_that_ended_while_no_worker_was_there_keeps_its_end_and_its_output(kit: Kit) -> None:
    job = kit.job(*python(GATED + "import os; os.write(1, bytes(range(256)) * 50); raise SystemExit(9)"))
    job = left_running(kit, job, once=lambda: kit.live(job) == b"before\n", what="the program is up")
    go(kit, job)
    until(lambda: kit.engine.inspect(f"hm-{job.task_id}-1").status == "exited", "its end")  # type: ignore[union-attr]
    calls: list[str] = []
    with contextlib.closing(Handle()) as again:
        prepared = kit.prepare(job, again)
        ended = kit.runner.run(prepared, again, lambda: calls.append("started"))
    assert (ended.cause, ended.exit_code) == (Cause.EXIT, 9)
    assert calls == ["started"]
    expected = b"before\nafter\n" + bytes(range(256)) * 50
    assert kit.live(job) == expected
    assert prepared.workspace.log.read_bytes() == expected
    assert ended.usage.wall_seconds > 0


def test_a_worker_killed_in_the_middle_is_followed_by_one_that_goes_on(kit: Kit) -> None:
    job = kit.job(*python(COUNT))
    fields = {
        "state": str(kit.settings.state),
        "redis_url": kit.settings.redis,
        "node_id": "n1",
    }
    command = [
        sys.executable, "-m", "tests.integration.execution_child", json.dumps(fields), job.model_dump_json()
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as child:
        assert child.stdout is not None
        assert any("started" in line for line in child.stdout)
        until(lambda: len(kit.live(job)) > 40, "some output")
        os.kill(child.pid, signal.SIGKILL)
    prepared, ended = kit.run(job.model_copy(update={"state": State.RUNNING}))
    assert (ended.cause, ended.exit_code) == (Cause.OK, 0)
    assert kit.live(job) == COUNTED
    assert kit.live(job, Stream.STDERR) == COUNTED
    assert sorted(prepared.workspace.log.read_bytes().split()) == sorted(COUNTED.split() * 2)


def test_a_stop_reaches_a_container_that_was_found_again(kit: Kit) -> None:
    job = kit.job("sleep", "60")
    job = left_running(kit, job)
    again = Handle()
    again.stop(5.0)
    _, ended = kit.run(job, again)
    assert (ended.cause, ended.exit_code) == (Cause.CANCELLED, 143)


def test_the_deadline_counts_from_the_containers_own_start(kit: Kit) -> None:
    job = kit.job("sleep", "60", timeout_seconds=2.0)
    job = left_running(kit, job)
    _, ended = kit.run(job)
    assert ended.cause is Cause.TIMEOUT
    assert 2.0 <= ended.usage.wall_seconds < 12.0


def test_what_a_worker_ended_for_its_disk_before_it_died_is_not_taken_for_the_jobs_own_end(kit: Kit) -> None:
    job = left_running(kit, kit.job("sleep", "60", requests={"disk": 2 * MIB}))
    workspace = workspace_of(kit, job)
    (workspace.work / "much").write_bytes(bytes(3 * MIB))
    workspace.note_end("disk")
    kit.engine.kill(f"hm-{job.task_id}-{job.attempt}", "SIGKILL")
    _, ended = kit.run(job)
    assert (ended.cause, ended.exit_code) == (Cause.DISK, 137)
    assert "held 3M" in ended.evidence


def test_an_end_that_a_dying_worker_had_decided_on_is_carried_out_by_the_next(kit: Kit) -> None:
    job = left_running(kit, kit.job("sleep", "60"))
    workspace = workspace_of(kit, job)
    workspace.note_end("timeout")
    _, ended = kit.run(job)
    assert (ended.cause, ended.exit_code) == (Cause.TIMEOUT, 143)


def test_a_job_that_ended_by_itself_before_we_could_end_it_keeps_its_own_end(kit: Kit) -> None:
    job = left_running(kit, kit.job(*python(GATED)))
    workspace = workspace_of(kit, job)
    workspace.note_end("timeout")
    workspace.note_end("")
    go(kit, job)
    _, ended = kit.run(job)
    assert (ended.cause, ended.exit_code) == (Cause.OK, 0)


def test_a_container_that_was_made_and_not_started_is_started_once(kit: Kit) -> None:
    job = kit.job("echo", "once")
    with contextlib.closing(Handle()) as handle:
        prepared = kit.prepare(job, handle)
        assert prepared.body is not None
        kit.engine.create(prepared.identity.name, prepared.body)
    _, ended = kit.run(job)
    assert ended.cause is Cause.OK
    assert kit.live(job) == b"once\n"


@pytest.mark.parametrize("there", [True, False], ids=["said to be created", "gone"])
def test_a_container_whose_start_was_asked_for_is_not_started_again_whatever_the_engine_remembers(
    kit: Kit, there: bool
) -> None:
    job = kit.job("echo", "twice")
    with contextlib.closing(Handle()) as handle:
        prepared = kit.prepare(job, handle)
        assert prepared.body is not None
        if there:
            kit.engine.create(prepared.identity.name, prepared.body)
        prepared.workspace.note_start()
    with pytest.raises(StartUnknown, match="does not know whether it ran"):
        kit.run(job)
    assert kit.engine.inspect(prepared.identity.name) is None
    assert kit.live(job) == b""


def test_an_attempt_that_ran_and_lost_its_container_is_not_run_again(kit: Kit) -> None:
    with pytest.raises(ContainerLost):
        kit.run(kit.job("true", state=State.RUNNING))
    assert kit.leftovers() == []


def test_a_copy_whose_beginning_is_gone_is_marked_and_ends_with_the_last_lines(kit: Kit) -> None:
    small = kit.settings.model_copy(update={"max_log_bytes": 64 * 1024})
    kit.settings = small
    kit.runner = kit.new_runner()
    code = GATED + "for n in range(40000): print(n)\nprint('end', flush=True)"
    job = kit.job(*python(code))
    job = left_running(kit, job, once=lambda: kit.live(job) == b"before\n", what="the program is up")
    go(kit, job)
    until(lambda: kit.engine.inspect(f"hm-{job.task_id}-1").status == "exited", "its end")  # type: ignore[union-attr]
    prepared, ended = kit.run(job)
    assert ended.cause is Cause.OK
    assert ended.log.truncated
    text = prepared.workspace.log.read_bytes()
    assert b"some of the output is missing" in text
    assert text.endswith(b"39999\nend\n")
    assert b"some of the output is missing" in kit.live(job, Stream.NOTICE)
    assert kit.live(job).endswith(b"39999\nend\n")
