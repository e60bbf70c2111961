"""A worker goes on by itself when Redis was frozen, was killed, or has forgotten every script."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.job import State
from hivemind_worker.settings import Settings, load_settings
from tests.integration.worker_kit import log_text, submit, until_log
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
        submit(known, "after", "echo ok")
        job = until(known, "after")
        assert (job.state, job.attempt) == (State.COMPLETED, 1)
        assert child.poll() is None
    assert log_text(known, "through") == EXPECTED


def test_scripts_that_redis_forgot_are_taught_again(
    own: OwnRedis, here: Settings, known: Stores, tmp_path: Path
) -> None:
    with worker(here, known, tmp_path / "worker.log"):
        submit(known, "one", "echo ok")
        until(known, "one")
        known.redis.script_flush()
        submit(known, "two", "echo ok")
        assert until(known, "two").state is State.COMPLETED
