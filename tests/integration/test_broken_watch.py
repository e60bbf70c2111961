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
from hivemind_worker.execution.handle import Detached, Handle
from hivemind_worker.execution.lost import WORDS_OF_LOSS
from hivemind_worker.execution.wire import EngineRefused
from hivemind_worker.store.logs import Stream
from hivemind_worker.tasks import _execute

from .execution_kit import BUSYBOX, Kit, Proxy


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
