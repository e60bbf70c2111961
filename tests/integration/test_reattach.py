"""A worker that comes back finds its container again: after many kills, under another name, by a clock that was set."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys

import pytest

from hivemind_worker.domain.job import Job, State
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.execution.handle import Handle
from hivemind_worker.execution.launch import ForeignContainer
from hivemind_worker.execution.since import Moment
from hivemind_worker.store.logs import Stream
from tests.processes import REPOSITORY
from tests.workspaces import workspace_of

from .execution_kit import BUSYBOX, Kit, left_running, until

#: prints numbered lines on both streams as fast as it can, in bursts, until the file `end` is there
FAST = """
import os
n = 0
while not os.path.exists('/workspace/end'):
    for _ in range(50):
        os.write(1, b'%d out\\n' % n); os.write(2, b'%d err\\n' % n); n += 1
    import time; time.sleep(0.02)
"""
KILLS = 20


def rename(kit: Kit, job: Job, name: str) -> None:
    """As a person would, by hand."""
    kit.engine._call("POST", f"/containers/hm-{job.task_id}-1/rename?name={name}")


def newest(kit: Kit, job: Job) -> int:
    """The number of the newest chunk of its live log."""
    last = kit.stores.logs.last(job.task_id)
    return last.number if last else 0


def until_chunk(kit: Kit, job: Job, number: int) -> None:
    until(lambda: newest(kit, job) >= number, f"chunk {number}")


@pytest.mark.timeout(600)
def test_twenty_kills_at_random_moments_cost_no_line_and_double_none(kit: Kit) -> None:
    dice = random.Random(1)
    settings = kit.settings = kit.settings.model_copy(update={"max_log_bytes": 64 * 1024 * 1024})
    kit.runner = kit.new_runner()
    job = kit.job("python3", "-c", FAST, timeout_seconds=3600.0)
    fields = {"state": str(settings.state), "redis_url": settings.redis, "node_id": "n1", "max_log_bytes": "64M"}
    for _ in range(KILLS):
        command = [
            sys.executable, "-m", "tests.integration.execution_child", json.dumps(fields), job.model_dump_json(),
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as child:
            assert child.stdout is not None
            assert any("started" in line for line in child.stdout)
            enough = newest(kit, job) + dice.randint(0, 12)
            until_chunk(kit, job, enough)
            os.kill(child.pid, signal.SIGKILL)
        job = job.model_copy(update={"state": State.RUNNING})
    (workspace_of(settings.state, job.task_id).work / "end").touch()
    prepared, ended = kit.run(job)
    assert ended.cause is Cause.OK
    chunks = kit.chunks(job)
    assert [chunk.number for chunk in chunks] == list(range(1, len(chunks) + 1))
    for stream, word in ((Stream.STDOUT, b"out"), (Stream.STDERR, b"err")):
        text = b"".join(chunk.data for chunk in chunks if chunk.stream is stream)
        numbered = text.splitlines()
        assert numbered == [b"%d %s" % (n, word) for n in range(len(numbered))]
        kept = [line for line in prepared.workspace.log.read_bytes().splitlines() if line.endswith(word)]
        assert kept == numbered
    assert kit.live(job, Stream.NOTICE) == b""


def test_a_container_that_somebody_renamed_is_found_by_its_labels_and_not_started_twice(kit: Kit) -> None:
    job = left_running(kit, kit.job("sh", "-c", "echo once; sleep 2; exit 3", image=BUSYBOX))
    rename(kit, job, f"renamed-{job.task_id}")
    prepared, ended = kit.run(job)
    assert (ended.cause, ended.exit_code) == (Cause.EXIT, 3)
    assert kit.live(job) == b"once\n"
    kit.runner.clean(prepared, keep_workspace=False)
    assert kit.leftovers() == []


def test_a_container_renamed_before_its_start_was_recorded_is_not_started_twice(kit: Kit) -> None:
    job = left_running(kit, kit.job("sh", "-c", "echo once; sleep 2", image=BUSYBOX))
    rename(kit, job, f"renamed-{job.task_id}")
    _, ended = kit.run(job.model_copy(update={"state": State.PREPARING}))
    assert ended.cause is Cause.OK
    assert kit.live(job) == b"once\n"


def test_a_container_under_our_name_without_our_labels_is_foreign_and_stays(kit: Kit) -> None:
    job = kit.job("true", image=BUSYBOX)
    stranger = kit.engine.create(f"hm-{job.task_id}-1", {"Image": BUSYBOX, "Cmd": ["true"]})
    try:
        with pytest.raises(ForeignContainer):
            kit.run(job)
        assert kit.engine.inspect(stranger) is not None
    finally:
        kit.engine.remove(stranger)


@pytest.mark.parametrize("step", [3600.0, -3600.0])
def test_a_clock_that_was_set_neither_times_a_job_out_early_nor_gives_it_for_ever(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    job = left_running(kit, kit.job("sleep", "120", image=BUSYBOX, timeout_seconds=6.0))
    now = Moment.now
    monkeypatch.setattr(Moment, "now", lambda: (at := now()) and Moment(at.boot, at.up, at.wall + step))
    _, ended = kit.run(job)
    assert ended.cause is Cause.TIMEOUT
    assert 6.0 <= ended.usage.wall_seconds < 60.0


def test_where_the_note_of_the_start_is_lost_the_engines_stamps_do(kit: Kit) -> None:
    job = left_running(kit, kit.job("sleep", "120", image=BUSYBOX, timeout_seconds=6.0))
    (workspace_of(kit.settings.state, job.task_id).root / "started.json").write_text('{"boot": "cut of')
    with contextlib.closing(Handle()) as handle:
        prepared = kit.prepare(job, handle)
        assert prepared.workspace.start is None
        ended = kit.runner.run(prepared, handle, lambda: None)
    assert ended.cause is Cause.TIMEOUT
    assert 6.0 <= ended.usage.wall_seconds < 60.0
