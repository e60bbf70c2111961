"""A worker goes on by itself when Redis was frozen, was killed, or has forgotten every script."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.job import State
from hivemind_worker.settings import Settings, load_settings
from tests.integration.worker_kit import arm, artifact, log_text, submit, until_clean, until_log
from tests.processes import eventually, until, worker
from tests.redis_server import OwnRedis

LINES = "for i in $(seq 1 60); do echo line $i; sleep 0.1; done"
EXPECTED = b"".join(b"line %d\n" % i for i in range(1, 61))


@pytest.fixture
def own(tmp_path: Path) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path)
    server.up()
    yield server
    server.down()


@pytest.fixture
def here(tmp_path: Path, own: OwnRedis) -> Settings:
    return load_settings(state=tmp_path / "state", redis_url=own.url, node_id="n1", durability="everysec")


@pytest.fixture
def known(here: Settings, own: OwnRedis) -> Iterator[Stores]:
    opened = open_stores(here)
    yield opened
    opened.close()


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_job_runs_through_it_and_the_next_one_starts(
    own: OwnRedis, here: Settings, known: Stores, tmp_path: Path, how: str
) -> None:
    said = tmp_path / "worker.log"
    with worker(here, known, said) as child:
        submit(known, "through", LINES)
        until_log(known, "through", b"line 3\n")
        if how == "killed":
            own.down()
        else:
            own.signal(signal.SIGSTOP)
        eventually(lambda: "redis is away" in said.read_text(), timeout=60)
        if how == "killed":
            own.up()
        else:
            own.signal(signal.SIGCONT)
        assert until(known, "through").state is State.COMPLETED
        submit(known, "after-redis", "echo ok")
        job = until(known, "after-redis")
        assert (job.state, job.attempt) == (State.COMPLETED, 1)
        assert child.poll() is None
    assert log_text(known, "through") == EXPECTED


@pytest.mark.parametrize("script", ["sleep 600", "true"])
def test_a_start_that_redis_missed_is_told_once_it_is_back(
    own: OwnRedis, here: Settings, known: Stores, tmp_path: Path, script: str
) -> None:
    said, (armed, points) = tmp_path / "worker.log", arm(tmp_path, "container-started", "kill redis")
    with worker(here, known, said, **points), contextlib.closing(docker.from_env()) as engine:
        submit(known, "missed", script)
        eventually(lambda: list(armed.glob(".struck-*")))
        own.down()
        next(iter(armed.glob(".struck-*"))).open("w").close()  # it goes on
        eventually(lambda: "start not recorded" in said.read_text())
        if script == "true":
            eventually(lambda: engine.containers.get("hm-missed-1").status == "exited")
        back = time.time()
        own.up()
        if script != "true":
            until(known, "missed", State.RUNNING)
            known.jobs.cancel("missed", 0.0)
        job = until(known, "missed")
        assert job.times.started is not None
        assert job.times.started < 1000 * back
        assert json.loads(artifact(known, job)["outcome.json"])["started"]
        states = [event.state for event in reversed(known.events.recent(20)) if event.task_id == "missed"]
        assert states[-3:] == ["running", "collecting", job.state.value]
        until_clean(engine, here, "missed")


def test_scripts_that_redis_forgot_are_taught_again(
    own: OwnRedis, here: Settings, known: Stores, tmp_path: Path
) -> None:
    with worker(here, known, tmp_path / "worker.log"):
        submit(known, "one", "echo ok")
        until(known, "one")
        known.redis.script_flush()
        submit(known, "two", "echo ok")
        assert until(known, "two").state is State.COMPLETED
