"""Engines and Redis that go away in the middle of a job: it does not fail, and no line of it is lost."""

from __future__ import annotations

import contextlib
import os
import signal
import threading

import pytest

from hivemind_worker.domain.errors import EngineUnavailable
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.execution.handle import Detached, Handle, StoppedEarly
from hivemind_worker.execution.wire import EngineStream
from hivemind_worker.store.logs import Stream

from .execution_kit import COUNT, COUNTED, GATED, Body, Kit, Proxy, go, python, until

# docker-py leaves a Unix socket that fails to connect to the garbage collector, which complains.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


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
    handle, asked, logs = Handle(), threading.Event(), shaky.engine.logs

    def ask_and_tell(container: str, *, follow: bool) -> EngineStream:
        try:
            return logs(container, follow=follow)
        except EngineUnavailable:
            asked.set()
            raise

    monkeypatch.setattr(shaky.engine, "logs", ask_and_tell)
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


def test_a_container_that_is_deleted_while_the_engine_cannot_be_asked_has_an_end_that_nobody_saw(
    kit: Kit, shaky: Kit, proxy: Proxy
) -> None:
    job = shaky.job("sh", "-c", "echo before; sleep 600")
    handle = Handle()
    body = shaky.start(job, handle)
    until(lambda: shaky.live(job) == b"before\n", "some output")
    proxy.cut()
    kit.engine.remove(f"hm-{job.task_id}-1")
    proxy.mend()
    ended = body.result()
    assert (ended.cause, ended.exit_code, ended.unseen) == (Cause.ENGINE, None, True)
    handle.close()


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
