"""An engine that is restarted, killed or frozen is unknown, not failed: what became of a job is asked once it answers.

On an engine of these tests' own. It is frozen for 20 s here, not for a minute: what could give up on a call does so
after OPEN_TIMEOUT or CALL_TIMEOUT, which one test shortens, so that a freeze outlasts them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import Job, State
from hivemind_worker.domain.outcome import CAUSES, Cause
from hivemind_worker.execution import engine as engine_module
from hivemind_worker.execution import restarts, watch
from hivemind_worker.execution.handle import Detached, Handle
from hivemind_worker.execution.runner import Ended
from hivemind_worker.settings import Settings
from hivemind_worker.store.logs import Stream
from tests.engine import OwnEngine, private_engine
from tests.workspaces import kept_log, workspace_of

from .execution_kit import BUSYBOX, Kit, until

pytestmark = pytest.mark.timeout(300)

#: prints a number on both streams ten times a second until the file `end` is there
COUNT = "n=0; while [ ! -e end ]; do echo $n; echo $n >&2; n=$((n+1)); sleep 0.1; done; exit 7"


@pytest.fixture(scope="module")
def own() -> Iterator[OwnEngine]:
    with private_engine() as engine:
        yield engine


@pytest.fixture
def kit(settings: Settings, stores: Stores, own: OwnEngine) -> Iterator[Kit]:
    made = Kit(settings.model_copy(update={"docker_host": own.url}), stores)
    yield made
    own.up()
    made.close()


@pytest.fixture
def live_restore(own: OwnEngine) -> Iterator[OwnEngine]:
    """The engine, which leaves its containers running when it goes."""
    own.down()
    own.live_restore = True
    own.up()
    yield own
    own.up()
    own.down()
    own.live_restore = False
    own.up()


@contextlib.contextmanager
def counting(kit: Kit, **given: object) -> Iterator[tuple[Job, list[Ended]]]:
    """A job that counts while something happens to the engine; then it is told to end, and its end is in the list."""
    job, handle, ends = kit.job("sh", "-c", COUNT, image=BUSYBOX, **given), Handle(), list[Ended]()
    body = kit.start(job, handle)
    until(lambda: len(kit.live(job).splitlines()) > 5, "some output")
    yield job, ends
    (workspace_of(kit.settings.state, job.task_id).work / "end").touch()
    ends.append(body.result())
    handle.close()


def assert_whole(kit: Kit, job: Job, notice: bytes = b"") -> None:
    """Every line once and in order, on both streams, and no word of a gap but this one."""
    for stream in (Stream.STDOUT, Stream.STDERR):
        numbers = kit.live(job, stream).split()
        assert numbers == [b"%d" % n for n in range(len(numbers))]
    told = kit.live(job, Stream.NOTICE)
    assert (notice in told and told.count(b"[hivemind]") == 1) if notice else told == b""


@pytest.mark.parametrize("how", ["down", "kill"])
def test_an_engine_that_keeps_its_containers_may_come_and_go(kit: Kit, live_restore: OwnEngine, how: str) -> None:
    with counting(kit) as (job, ends):
        getattr(live_restore, how)()
        before = kit.live(job).splitlines()
        live_restore.up()
        # Longer than it takes to come up, and may lose output of what it has just taken over.
        until(lambda: len(kit.live(job).splitlines()) > len(before) + 110, "it goes on")
    assert (ends[0].cause, ends[0].exit_code) == (Cause.EXIT, 7)
    assert_whole(kit, job, b"followed by another while this ran")


@pytest.mark.parametrize("init_listens", [False, True])
def test_what_a_job_wrote_under_another_engine_while_its_worker_looked_away_is_read(
    kit: Kit, live_restore: OwnEngine, init_listens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end that the first engine's death gave to the output is not taken for the job's, which succeeds later.

    Where init listens for the engine (`-H fd://`), the peer of every connection is init.
    """
    if init_listens:
        monkeypatch.setattr("hivemind_worker.execution.wire.peer_of", lambda _: 1)
        monkeypatch.setattr(restarts, "peer_of", lambda _: 1)
        monkeypatch.setattr(restarts, "PIDFILES", (live_restore.folder / "pid",))
    job, handle = kit.job("sh", "-c", COUNT.replace("exit 7", "exit 0"), image=BUSYBOX), Handle()
    prepared = kit.prepare(job, handle)
    work, printed = prepared.workspace.work, prepared.workspace.work / "printed"
    counted = COUNT.replace("sleep 0.1", "echo $n > printed; sleep 0.1").replace("exit 7", "exit 0")
    prepared.body = {**(prepared.body or {}), "Cmd": ["sh", "-c", counted]}

    def lines() -> int:
        text = printed.read_text().strip() if printed.exists() else ""
        return int(text) if text.isdigit() else 0

    def look_away() -> None:
        until(lambda: lines() > 5, "some output")
        live_restore.kill()
        live_restore.up()
        # Longer than the engine may lose output of what it has just taken over, however long it took to come up.
        up = lines()
        until(lambda: lines() > up + 50, "it goes on")
        (work / "end").touch()
        until(lambda: not running(kit, job), "its end")

    ended = kit.runner.run(prepared, handle, look_away)
    handle.close()
    assert (ended.cause, ended.exit_code) == (Cause.OK, 0)
    assert int(kit.live(job).split()[-1]) > 50
    assert_whole(kit, job, b"followed by another while this ran")
    assert b"followed by another while this ran" in prepared.workspace.log.read_bytes()


def test_a_log_that_was_read_to_its_end_is_whole_whatever_becomes_of_engine_and_container_then(
    kit: Kit, live_restore: OwnEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, handle = kit.job("sh", "-c", "echo one; sleep 1; echo two", image=BUSYBOX), Handle()
    prepared = kit.prepare(job, handle)

    def strike(point: str, _task_id: str) -> None:
        if point == "exit-seen":
            live_restore.kill()
            live_restore.up()
            assert prepared.container is not None
            kit.engine.remove(prepared.container)

    monkeypatch.setattr(watch, "reach", strike)
    ended = kit.runner.run(prepared, handle, lambda: None)
    handle.close()
    assert (ended.cause, ended.log.bytes, ended.log.truncated) == (Cause.OK, 8, False)
    assert kit.live(job) == b"one\ntwo\n"
    assert b"is missing" not in prepared.workspace.log.read_bytes()


def test_a_zero_that_stands_for_an_exit_code_which_went_with_an_engine_is_no_success(
    kit: Kit, live_restore: OwnEngine
) -> None:
    """As of an engine killed after it had cleared an ended container away, and before it had noted its exit code."""
    job, handle = kit.job("sleep", "600", image=BUSYBOX), Handle()
    prepared = kit.prepare(job, handle)

    def forget() -> None:
        program = kit.engine.inspect(prepared.container or "")
        assert program is not None
        shim = int(Path(f"/proc/{program.pid}/stat").read_text().rpartition(")")[2].split()[1])
        live_restore.kill()
        for pid in (shim, program.pid):
            os.kill(pid, signal.SIGKILL)
        next(live_restore.folder.rglob("meta.db")).unlink()
        live_restore.up()
        found = kit.engine.inspect(prepared.container or "")
        assert found is not None
        assert (found.status, found.exit_code) == ("exited", 0), "the engine has another word for it"

    ended = kit.runner.run(prepared, handle, forget)
    handle.close()
    assert (ended.cause, ended.exit_code) == (Cause.ENGINE, None)
    assert "exit code is not known" in ended.evidence


def test_a_program_that_ends_well_right_after_its_engine_came_up_has_succeeded(
    kit: Kit, live_restore: OwnEngine
) -> None:
    job, handle = kit.job("sh", "-c", "until [ -e end ]; do sleep 0.02; done", image=BUSYBOX), Handle()
    prepared = kit.prepare(job, handle)

    def come_and_go() -> None:
        live_restore.kill()
        live_restore.up()
        (prepared.workspace.work / "end").touch()
        until(lambda: not running(kit, job), "its end")

    ended = kit.runner.run(prepared, handle, come_and_go)
    handle.close()
    assert (ended.cause, ended.exit_code) == (Cause.OK, 0)


@pytest.mark.parametrize("how", ["down", "kill"])
def test_an_engine_that_takes_its_containers_along_is_the_infrastructures_fault(
    kit: Kit, own: OwnEngine, how: str
) -> None:
    with counting(kit) as (job, ends):
        getattr(own, how)()
        own.up()
    assert ends[0].cause is Cause.ENGINE
    assert CAUSES[ends[0].cause].fault == "infrastructure"
    assert kit.live(job).split()[:5] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_worker_that_comes_back_while_the_engine_is_away_waits_for_its_word(
    kit: Kit, live_restore: OwnEngine
) -> None:
    job, handle = kit.job("sh", "-c", COUNT, image=BUSYBOX), Handle()
    body = kit.start(job, handle)
    handle.detach()
    with pytest.raises(Detached):
        body.result()
    handle.close()
    live_restore.kill()
    again, claimed = Handle(), job.model_copy(update={"state": State.RUNNING})
    back = threading.Event()

    def up_again() -> None:
        back.set()
        live_restore.up()

    (workspace_of(kit.settings.state, job.task_id).work / "end").touch()
    timer = threading.Timer(2.0, up_again)
    timer.start()
    prepared = kit.prepare(claimed, again)
    assert back.is_set(), "it found something before the engine was there"
    ended = kit.runner.run(prepared, again, lambda: None)
    timer.join()
    again.close()
    assert (ended.cause, ended.exit_code) == (Cause.EXIT, 7)


@pytest.mark.parametrize("next_one_keeps", [False, True])
def test_a_program_that_ends_with_a_code_of_its_own_because_its_engine_is_stopped_is_not_blamed(
    kit: Kit, own: OwnEngine, next_one_keeps: bool
) -> None:
    job, handle = kit.job("sh", "-c", f"trap 'exit 2' TERM; {COUNT}", image=BUSYBOX), Handle()
    body = kit.start(job, handle)
    until(lambda: len(kit.live(job).splitlines()) > 5, "some output")
    own.down()
    own.live_restore = next_one_keeps
    own.up()
    ended = body.result()
    handle.close()
    own.down()
    own.live_restore = False
    own.up()
    assert (ended.cause, ended.exit_code) == (Cause.ENGINE, 2)
    assert "stopped or away" in ended.evidence


def test_a_program_that_fails_while_an_engine_is_away_that_keeps_its_containers_failed_by_itself(
    kit: Kit, live_restore: OwnEngine
) -> None:
    with counting(kit) as (job, ends):
        live_restore.down()
        assert _runs()  # or its end could not be told
        (workspace_of(kit.settings.state, job.task_id).work / "end").touch()
        until(lambda: not _runs(), "its end")
        live_restore.up()
    assert (ends[0].cause, ends[0].exit_code) == (Cause.EXIT, 7)


def _runs() -> bool:
    """Whether the counting program lives, as /proc has it: there is no engine to ask."""
    words = COUNT.encode()
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and words in (folder / "cmdline").read_bytes():
                return True
    return False


def test_an_engine_that_takes_the_jobs_along_of_a_worker_that_is_away_is_the_infrastructures_fault(
    kit: Kit, own: OwnEngine
) -> None:
    job, handle = kit.job("sh", "-c", f"trap 'exit 143' TERM; {COUNT}", image=BUSYBOX), Handle()
    body = kit.start(job, handle)
    until(lambda: len(kit.live(job).splitlines()) > 5, "some output")
    handle.detach()
    with pytest.raises(Detached):
        body.result()
    handle.close()
    own.kill()
    own.up()
    again = Handle()
    prepared = kit.prepare(job.model_copy(update={"state": State.RUNNING}), again)
    ended = kit.runner.run(prepared, again, lambda: None)
    again.close()
    assert ended.exit_code in (137, 143)
    assert ended.cause is Cause.ENGINE


def test_output_that_no_engine_was_there_to_read_is_a_marked_gap(kit: Kit, live_restore: OwnEngine) -> None:
    with counting(kit) as (job, ends):
        live_restore.kill()
        work = workspace_of(kit.settings.state, job.task_id).work
        (work / "end").touch()
        until(lambda: not running(kit, job), "it ends without an engine")
        live_restore.up()
    assert (ends[0].cause, ends[0].exit_code) == (Cause.EXIT, 7)
    assert b"the engine was away when the job ended" in kit.live(job, Stream.NOTICE).replace(b"container ", b"")
    assert b"may be missing here" in kept_log(work.parent)


def test_output_that_went_with_an_engine_while_the_worker_looked_away_is_a_marked_gap_of_a_job_that_succeeds(
    kit: Kit, live_restore: OwnEngine
) -> None:
    job, handle = kit.job("sh", "-c", COUNT.replace("exit 7", "exit 0"), image=BUSYBOX), Handle()
    prepared = kit.prepare(job, handle)

    def look_away() -> None:
        first = kit.engine.inspect(prepared.container or "")
        assert first is not None
        live_restore.kill()
        (prepared.workspace.work / "end").touch()
        # Its init, too: a 0 that is stamped while the next engine comes up is in doubt.
        until(lambda: not Path(f"/proc/{first.pid}").exists(), "it ends without an engine")
        live_restore.up()

    ended = kit.runner.run(prepared, handle, look_away)
    handle.close()
    assert (ended.cause, ended.exit_code) == (Cause.OK, 0)
    assert b"may be missing here" in kit.live(job, Stream.NOTICE)
    assert b"may be missing here" in prepared.workspace.log.read_bytes()


def running(kit: Kit, job: Job) -> bool:
    """Whether any process of the job's user works in its workspace, asked of the kernel."""
    work = workspace_of(kit.settings.state, job.task_id).work
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").stat().st_ino == work.stat().st_ino:
                return True
    return False


def test_a_frozen_engine_costs_neither_a_running_job_nor_a_new_one(
    kit: Kit, own: OwnEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "CALL_TIMEOUT", 3.0)
    monkeypatch.setattr(engine_module, "OPEN_TIMEOUT", 3.0)
    late, handle = kit.job("echo", "here", image=BUSYBOX), Handle()
    with counting(kit) as (job, ends):
        own.pause()
        try:
            body = kit.start_in_background(late, handle)
            assert not body.started.wait(20), "the engine sleeps"
        finally:
            own.resume()
        assert body.result().cause is Cause.OK
    handle.close()
    assert (ends[0].cause, ends[0].exit_code) == (Cause.EXIT, 7)
    assert_whole(kit, job)
    assert kit.live(late) == b"here\n"


def test_a_stop_and_a_deadline_that_fall_into_a_freeze_are_kept_after_it(
    kit: Kit, own: OwnEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "CALL_TIMEOUT", 2.0)
    monkeypatch.setattr(engine_module, "OPEN_TIMEOUT", 2.0)
    handles = [Handle(), Handle()]
    stopped, timed = kit.job("sleep", "300", image=BUSYBOX), kit.job("sleep", "300", image=BUSYBOX, timeout_seconds=4.0)
    bodies = [kit.start(job, handle) for job, handle in zip((stopped, timed), handles, strict=True)]
    own.pause()
    try:
        handles[0].stop(1.0)
        bodies[1].join(10)
        assert all(body.is_alive() for body in bodies)
    finally:
        own.resume()
    assert [body.result().cause for body in bodies] == [Cause.CANCELLED, Cause.TIMEOUT]
    for handle in handles:
        handle.close()
