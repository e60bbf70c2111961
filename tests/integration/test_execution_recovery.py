"""Engines that go away, Redis that goes away, workers that leave or are killed: no job fails and no line is lost."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import EngineUnavailable
from hivemind_worker.domain.job import Job, State
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.domain.resources import MIB
from hivemind_worker.execution.found import Found
from hivemind_worker.execution.handle import Detached, Handle, StoppedEarly
from hivemind_worker.execution.launch import ContainerLost, StartUnknown
from hivemind_worker.execution.wire import EngineStream
from hivemind_worker.execution.workspace import Workspace, find_workspace
from hivemind_worker.settings import Settings
from hivemind_worker.store.logs import Stream

from .execution_kit import Body, Kit, Proxy, until

# docker-py leaves a Unix socket that fails to connect to the garbage collector, which complains.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

#: prints a number every 20 ms, on both streams, and ends by itself
COUNT = "import os, time\nfor n in range(150): os.write(1, b'%d\\n' % n); os.write(2, b'%d\\n' % n); time.sleep(0.02)\n"
COUNTED = "".join(f"{n}\n" for n in range(150)).encode()
#: waits for a file, so that the test decides when it goes on
GATED = (
    "import os, time\n"
    "print('before', flush=True)\n"
    "while not os.path.exists('/workspace/go'): time.sleep(0.01)\n"
    "print('after', flush=True)\n"
)


@pytest.fixture
def kit(settings: Settings, stores: Stores) -> Iterator[Kit]:
    made = Kit(settings, stores)
    yield made
    made.close()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    made = Proxy(tmp_path / "p.sock")
    made.mend()
    yield made
    made.cut()


@pytest.fixture
def shaky(settings: Settings, stores: Stores, proxy: Proxy) -> Iterator[Kit]:
    """A worker whose engine can be cut off."""
    made = Kit(settings.model_copy(update={"docker_host": proxy.url}), stores)
    yield made
    proxy.cut()
    proxy.mend()
    made.close()


def python(code: str) -> tuple[str, str, str]:
    return ("python3", "-c", code)


def go(kit: Kit, job: Job) -> None:
    """Open the gate of a GATED job."""
    (kit.settings.state / "workspaces" / f"{job.task_id}-{job.attempt}" / "work" / "go").touch()


# --- the engine ---------------------------------------------------------------------------------------------


def test_an_engine_that_is_away_at_the_start_is_waited_for(shaky: Kit, proxy: Proxy) -> None:
    proxy.cut()
    assert not shaky.engine.healthy(fresh=True)
    job = shaky.job("echo", "here")
    handle = Handle()
    body = Body(shaky, job, handle)
    body.start()
    assert not body.started.wait(0.5)
    proxy.mend()
    assert body.result().cause is Cause.OK
    assert shaky.live(job) == b"here\n"
    handle.close()


def test_a_stop_while_the_engine_is_away_ends_the_wait(shaky: Kit, proxy: Proxy) -> None:
    proxy.cut()
    handle = Handle()
    body = Body(shaky, shaky.job("true"), handle)
    body.start()
    handle.stop(1.0)
    with pytest.raises(StoppedEarly):
        body.result()
    handle.close()


def test_an_engine_that_goes_away_in_mid_run_costs_neither_the_job_nor_a_line(shaky: Kit, proxy: Proxy) -> None:
    job = shaky.job(*python(COUNT))
    handle = Handle()
    body = shaky.start(job, handle)
    until(lambda: len(shaky.live(job)) > 40, "some output")
    proxy.cut()
    assert not shaky.engine.healthy(fresh=True)
    proxy.mend()
    ended = body.result()
    assert body.prepared is not None
    assert (ended.cause, ended.exit_code) == (Cause.OK, 0)
    assert shaky.live(job) == COUNTED
    assert shaky.live(job, Stream.STDERR) == COUNTED
    assert sorted(body.prepared.workspace.log.read_bytes().split()) == sorted(COUNTED.split() * 2)
    handle.close()


def test_a_container_that_ends_while_the_engine_is_away_is_told_by_its_own_exit(shaky: Kit, proxy: Proxy) -> None:
    job = shaky.job(*python(GATED + "raise SystemExit(5)"))
    handle = Handle()
    body = shaky.start(job, handle)
    until(lambda: shaky.live(job) == b"before\n", "the program is up")
    proxy.cut()
    go(shaky, job)
    direct = Kit(shaky.settings.model_copy(update={"docker_host": None}), shaky.stores)
    until(lambda: direct.engine.inspect(f"hm-{job.task_id}-1").status == "exited", "its end")  # type: ignore[union-attr]

    proxy.mend()
    ended = body.result()
    assert (ended.cause, ended.exit_code) == (Cause.EXIT, 5)
    assert shaky.live(job) == b"before\nafter\n"
    handle.close()


def test_an_engine_that_shuts_down_and_takes_the_container_along_is_not_the_jobs_fault(
    shaky: Kit, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = shaky.job(*python(GATED))
    handle, asked, inspect = Handle(), threading.Event(), shaky.engine.inspect

    def inspect_and_tell(container: str) -> Found | None:
        try:
            return inspect(container)
        except EngineUnavailable:
            asked.set()
            raise

    monkeypatch.setattr(shaky.engine, "inspect", inspect_and_tell)
    body = shaky.start(job, handle)
    until(lambda: shaky.live(job) == b"before\n", "the program is up, and no signal is lost on its init")
    proxy.refuse()
    direct = Kit(shaky.settings.model_copy(update={"docker_host": None}), shaky.stores)
    assert direct.engine.kill(f"hm-{job.task_id}-1", "SIGTERM")
    assert asked.wait(60), "it wants to know more of the end, of an engine that is away by now"
    proxy.mend()
    ended = body.result()
    assert (ended.cause, ended.exit_code) == (Cause.ENGINE, 143)
    assert "went away" in ended.evidence
    handle.close()


def test_a_detach_while_the_engine_is_away_returns_at_once(shaky: Kit, proxy: Proxy) -> None:
    job = shaky.job("sleep", "60")
    handle = Handle()
    body = shaky.start(job, handle)
    proxy.cut()
    handle.detach()
    with pytest.raises(Detached):
        body.result()
    handle.close()


def test_a_container_that_somebody_deletes_is_the_engines_fault(kit: Kit) -> None:
    job = kit.job("sleep", "60")
    handle = Handle()
    body = kit.start(job, handle)
    kit.engine.remove(f"hm-{job.task_id}-1")
    ended = body.result()
    assert ended.cause is Cause.ENGINE
    assert "deleted by somebody else" in ended.evidence
    handle.close()


# --- the worker ---------------------------------------------------------------------------------------------


def test_a_worker_that_leaves_and_comes_back_misses_nothing(kit: Kit) -> None:
    job = kit.job(*python(COUNT))
    handle = Handle()
    body = kit.start(job, handle)
    until(lambda: len(kit.live(job)) > 40, "some output")
    handle.detach()
    with pytest.raises(Detached):
        body.result()
    handle.close()
    kit.runner.close()
    kit.runner = kit.new_runner()
    prepared, ended = kit.run(job.model_copy(update={"state": State.RUNNING}))
    assert (ended.cause, ended.exit_code) == (Cause.OK, 0)
    assert kit.live(job) == COUNTED
    assert kit.live(job, Stream.STDERR) == COUNTED
    assert kit.live(job, Stream.NOTICE) == b""
    assert sorted(prepared.workspace.log.read_bytes().split()) == sorted(COUNTED.split() * 2)
    assert ended.log.bytes == 2 * len(COUNTED)


def test_a_job_that_ended_while_no_worker_was_there_keeps_its_end_and_its_output(kit: Kit) -> None:
    job = kit.job(*python(GATED + "import os; os.write(1, bytes(range(256)) * 50); raise SystemExit(9)"))
    handle = Handle()
    body = kit.start(job, handle)
    until(lambda: kit.live(job) == b"before\n", "the program is up")
    handle.detach()
    with pytest.raises(Detached):
        body.result()
    handle.close()
    go(kit, job)
    until(lambda: kit.engine.inspect(f"hm-{job.task_id}-1").status == "exited", "its end")  # type: ignore[union-attr]
    calls: list[str] = []
    with contextlib.closing(Handle()) as again:
        prepared = kit.prepare(job.model_copy(update={"state": State.RUNNING}), again)
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
    handle = Handle()
    body = kit.start(job, handle)
    handle.detach()
    with pytest.raises(Detached):
        body.result()
    handle.close()
    again = Handle()
    again.stop(5.0)
    _, ended = kit.run(job.model_copy(update={"state": State.RUNNING}), again)
    assert (ended.cause, ended.exit_code) == (Cause.CANCELLED, 143)


def test_the_deadline_counts_from_the_containers_own_start(kit: Kit) -> None:
    job = kit.job("sleep", "60", timeout_seconds=2.0)
    handle = Handle()
    body = kit.start(job, handle)
    handle.detach()
    with pytest.raises(Detached):
        body.result()
    handle.close()
    _, ended = kit.run(job.model_copy(update={"state": State.RUNNING}))
    assert ended.cause is Cause.TIMEOUT
    assert 2.0 <= ended.usage.wall_seconds < 12.0


def leave_running(kit: Kit, *command: str, **fields: Any) -> tuple[Job, Workspace]:
    """A job whose worker died while its container ran."""
    job, handle = kit.job(*command, **fields), Handle()
    body = kit.start(job, handle)
    handle.detach()
    with pytest.raises(Detached):
        body.result()
    handle.close()
    workspace = find_workspace(kit.settings.state / "workspaces", job.task_id, job.attempt)
    assert workspace is not None
    return job.model_copy(update={"state": State.RUNNING}), workspace


def test_what_a_worker_ended_for_its_disk_before_it_died_is_not_taken_for_the_jobs_own_end(kit: Kit) -> None:
    job, workspace = leave_running(kit, "sleep", "60", requests={"disk": 2 * MIB})
    (workspace.work / "much").write_bytes(bytes(3 * MIB))
    workspace.note_end("disk")
    kit.engine.kill(f"hm-{job.task_id}-{job.attempt}", "SIGKILL")
    _, ended = kit.run(job)
    assert (ended.cause, ended.exit_code) == (Cause.DISK, 137)
    assert "held 3M" in ended.evidence


def test_an_end_that_a_dying_worker_had_decided_on_is_carried_out_by_the_next(kit: Kit) -> None:
    job, workspace = leave_running(kit, "sleep", "60")
    workspace.note_end("timeout")
    _, ended = kit.run(job)
    assert (ended.cause, ended.exit_code) == (Cause.TIMEOUT, 143)


def test_a_job_that_ended_by_itself_before_we_could_end_it_keeps_its_own_end(kit: Kit) -> None:
    job, workspace = leave_running(kit, *python(GATED))
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


def test_an_engine_that_took_no_connection_has_not_heard_of_the_start(shaky: Kit, proxy: Proxy) -> None:
    job = shaky.job("echo", "once")
    with contextlib.closing(Handle()) as handle:
        prepared = shaky.prepare(job, handle)
        attach = shaky.engine.attach

        def attach_and_cut(container: str) -> EngineStream:
            stream = attach(container)
            shaky.engine.attach = attach  # type: ignore[method-assign]
            proxy.cut()
            threading.Timer(0.5, proxy.mend).start()
            return stream

        shaky.engine.attach = attach_and_cut  # type: ignore[method-assign]
        ended = shaky.runner.run(prepared, handle, lambda: None)
    assert ended.cause is Cause.OK
    assert shaky.live(job) == b"once\n"


def test_an_attempt_that_ran_and_lost_its_container_is_not_run_again(kit: Kit) -> None:
    with pytest.raises(ContainerLost):
        kit.run(kit.job("true", state=State.RUNNING))
    assert kit.leftovers() == []


# --- redis --------------------------------------------------------------------------------------------------


def test_output_goes_on_while_redis_hangs_and_is_complete_afterwards(kit: Kit) -> None:
    redis_server_pid = int(kit.stores.redis.info("server")["process_id"])
    job = kit.job(*python(COUNT))
    handle = Handle()
    body = kit.start(job, handle)
    until(lambda: len(kit.live(job)) > 40, "some output")
    os.kill(redis_server_pid, signal.SIGSTOP)
    try:
        assert body.prepared is not None
        work = body.prepared.workspace
        until(lambda: kit.engine.inspect(f"hm-{job.task_id}-1").status == "exited", "its end")  # type: ignore[union-attr]
    finally:
        os.kill(redis_server_pid, signal.SIGCONT)
    ended = body.result()
    assert ended.cause is Cause.OK
    assert sorted(work.log.read_bytes().split()) == sorted(COUNTED.split() * 2)
    until(lambda: kit.live(job) == COUNTED, "the live tail catches up")


# --- the engine's own copy ------------------------------------------------------------------------------------


def test_a_copy_whose_beginning_is_gone_is_marked_and_ends_with_the_last_lines(kit: Kit) -> None:
    small = kit.settings.model_copy(update={"max_log_bytes": 64 * 1024})
    kit.settings = small
    kit.runner = kit.new_runner()
    code = GATED + "for n in range(40000): print(n)\nprint('end', flush=True)"
    job = kit.job(*python(code))
    handle = Handle()
    body = kit.start(job, handle)
    until(lambda: kit.live(job) == b"before\n", "the program is up")
    handle.detach()
    with pytest.raises(Detached):
        body.result()
    handle.close()
    go(kit, job)
    until(lambda: kit.engine.inspect(f"hm-{job.task_id}-1").status == "exited", "its end")  # type: ignore[union-attr]
    prepared, ended = kit.run(job.model_copy(update={"state": State.RUNNING}))
    assert ended.cause is Cause.OK
    assert ended.log.truncated
    text = prepared.workspace.log.read_bytes()
    assert b"some of the output is missing" in text
    assert text.endswith(b"39999\nend\n")
    assert b"some of the output is missing" in kit.live(job, Stream.NOTICE)
    assert kit.live(job).endswith(b"39999\nend\n")
