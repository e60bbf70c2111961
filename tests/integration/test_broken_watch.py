"""A body that breaks in the middle leaves nothing running: the next attempt must not start beside this one."""

from __future__ import annotations

import contextlib
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hivemind_worker.agent import Agent
from hivemind_worker.domain.errors import EngineUnavailable
from hivemind_worker.domain.job import Job, State
from hivemind_worker.domain.outcome import CAUSES, Cause
from hivemind_worker.execution import watch
from hivemind_worker.execution.handle import Detached, Handle
from hivemind_worker.execution.lost import WORDS_OF_LOSS
from hivemind_worker.execution.wire import EngineRefused
from hivemind_worker.store.logs import Stream
from hivemind_worker.tasks import _execute

from .execution_kit import BUSYBOX, GATED, Kit, Proxy, go, left_running, python, until, workspace_of


@pytest.fixture
def kit(shaky: Kit) -> Kit:
    """All of this file's tests cut the engine off."""
    return shaky


def agent(kit: Kit, job: Job, started: Any, *, worker: str = "w1") -> Agent:
    """As much of one as a body's execution needs; `started` records the start, `worker` has the job now."""
    record = job.model_copy(update={"state": State.RUNNING, "worker": worker})
    jobs = SimpleNamespace(secrets=lambda _: {}, advance=lambda *_, **__: started(), get_many=lambda _: [record])
    stores = SimpleNamespace(jobs=jobs, logs=kit.stores.logs, ledger=SimpleNamespace(rows=lambda _: {}))
    return cast(Agent, SimpleNamespace(settings=kit.settings, stores=stores, runner=kit.runner, node="n1", worker="w1"))


def status(kit: Kit, job: Job) -> str:
    found = kit.engine.inspect(f"hm-{job.task_id}-1")
    assert found is not None
    return found.status


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (RuntimeError("can't start new thread"), Cause.INTERNAL),
        (MemoryError(), Cause.INTERNAL),
        (OSError(11, "Resource temporarily unavailable"), Cause.INTERNAL),
        (EngineRefused(500, "no"), Cause.ENGINE),
        (EngineUnavailable("gone"), Cause.ENGINE),
    ],
)
def test_a_watch_that_breaks_off_is_the_infrastructures_and_its_container_is_ended_before_that_is_said(
    kit: Kit, error: Exception, cause: Cause
) -> None:
    job = kit.job("sleep", "600", image=BUSYBOX)

    def fail() -> None:
        assert status(kit, job) == "running"
        raise error

    with contextlib.closing(Handle()) as handle:
        prepared, ended = _execute(agent(kit, job, fail), job, handle)
    assert prepared is not None
    assert ended.cause is cause
    assert CAUSES[ended.cause].fault == "infrastructure"
    assert status(kit, job) == "exited"
    assert ended.log.truncated
    assert WORDS_OF_LOSS in kit.live(job, Stream.NOTICE).decode()
    assert WORDS_OF_LOSS in prepared.workspace.log.read_text()


def test_a_watch_that_breaks_off_in_the_hands_of_a_fenced_body_ends_nothing(kit: Kit) -> None:
    job = kit.job("sleep", "600", image=BUSYBOX)

    def fail() -> None:
        raise RuntimeError("can't start new thread")

    with contextlib.closing(Handle()) as handle:
        with pytest.raises(Detached):
            _execute(agent(kit, job, fail, worker="w2"), job, handle)
        assert handle.fenced
    assert status(kit, job) == "running"


def refuse(kit: Kit, monkeypatch: pytest.MonkeyPatch, call: str, times: int) -> list[None]:
    """The engine answers so many of these calls as one does whose runtime is away; those are left."""
    real, left = getattr(kit.engine, call), [None] * times

    def refusing(*given: Any, **named: Any) -> Any:
        if left:
            left.pop()
            raise EngineRefused(500, 'dial unix "/run/containerd/containerd.sock": connect: connection refused')
        return real(*given, **named)

    monkeypatch.setattr(kit.engine, call, refusing)
    return left


@pytest.mark.parametrize("why", [Cause.TIMEOUT, Cause.CANCELLED])
def test_a_refusal_to_end_a_container_is_asked_again_and_changes_nothing_of_the_reason(
    kit: Kit, monkeypatch: pytest.MonkeyPatch, why: Cause
) -> None:
    left = refuse(kit, monkeypatch, "kill", 2)
    with contextlib.closing(Handle()) as handle:
        if why is Cause.CANCELLED:
            job = left_running(kit, kit.job("sleep", "600", image=BUSYBOX))
            handle.stop(0.0)
        else:
            job = kit.job("sleep", "600", image=BUSYBOX, timeout_seconds=0.5)
        _, ended = kit.run(job, handle)
    assert not left
    assert (ended.cause, ended.exit_code, ended.unseen) == (why, 137 if why is Cause.CANCELLED else 143, False)


def test_an_engine_that_cannot_say_how_a_container_does_costs_the_job_nothing(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, handle = kit.job(*python(GATED)), Handle()
    left = refuse(kit, monkeypatch, "wait", 3)
    body = kit.start(job, handle)
    until(lambda: not left, "it has asked")
    go(kit, job)
    ended = body.result()
    assert (ended.cause, ended.exit_code) == (Cause.OK, 0)
    assert kit.live(job) == b"before\nafter\n"
    handle.close()


def test_a_stop_is_kept_by_an_engine_that_can_never_wait_for_the_container(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "REFUSED_PATIENCE", 3.0)
    refuse(kit, monkeypatch, "wait", 100_000)
    job = kit.job("sleep", "600", image=BUSYBOX)
    with contextlib.closing(Handle()) as handle:
        prepared, ended = _execute(agent(kit, job, lambda: handle.stop(1.0)), job, handle)
    assert prepared is not None
    assert (ended.cause, ended.unseen) == (Cause.CANCELLED, True)
    assert "containerd.sock" in ended.evidence
    assert status(kit, job) == "exited"


def test_an_engine_that_cannot_look_at_a_container_is_asked_again(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    job = left_running(kit, kit.job("sh", "-c", "exit 3", image=BUSYBOX))
    left = refuse(kit, monkeypatch, "_call", 5)
    _, ended = kit.run(job)
    assert not left
    assert (ended.cause, ended.exit_code) == (Cause.EXIT, 3)


def test_what_we_had_begun_to_end_before_the_body_broke_keeps_its_reason(kit: Kit) -> None:
    job = kit.job("sleep", "600", image=BUSYBOX)

    def fail() -> None:
        workspace_of(kit, job).note_end("timeout")
        raise RuntimeError("can't start new thread")

    with contextlib.closing(Handle()) as handle:
        _, ended = _execute(agent(kit, job, fail), job, handle)
    assert (ended.cause, ended.unseen) == (Cause.TIMEOUT, True)
    assert "can't start new thread" in ended.evidence


def test_nothing_is_said_of_its_end_while_the_engine_is_away(kit: Kit, proxy: Proxy) -> None:
    job, handle, ends = kit.job("sleep", "600", image=BUSYBOX), Handle(), list[Any]()
    broken = threading.Event()

    def fail() -> None:
        proxy.cut()
        broken.set()
        raise RuntimeError("can't start new thread")

    def body() -> None:
        ends.append(_execute(agent(kit, job, fail), job, handle)[1])

    thread = threading.Thread(target=body, daemon=True)
    thread.start()
    assert broken.wait(60)
    thread.join(1.0)
    assert not ends
    proxy.mend()
    thread.join(60)
    assert ends[0].cause is Cause.INTERNAL
    assert status(kit, job) == "exited"
    handle.close()


def test_a_worker_that_leaves_meanwhile_leaves_it_to_the_next(kit: Kit, proxy: Proxy) -> None:
    job = kit.job("sleep", "600", image=BUSYBOX)

    def fail() -> None:
        proxy.cut()
        handle.detach()
        raise RuntimeError("can't start new thread")

    with contextlib.closing(Handle()) as handle, pytest.raises(Detached):
        _execute(agent(kit, job, fail), job, handle)
    proxy.mend()
    assert status(kit, job) == "running"
