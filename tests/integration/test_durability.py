"""What was acknowledged is there after Redis was killed, at any moment."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.errors import StoreUnavailable
from hivemind_worker.domain.job import State
from hivemind_worker.settings import load_settings
from tests.builders import new_job
from tests.integration.store_kit import OK, admit, announce
from tests.redis_server import OwnRedis


@pytest.mark.parametrize("moment", [50, 400, 1300])
def test_what_was_acknowledged_survives_a_killed_redis(tmp_path: Path, moment: int) -> None:
    own = OwnRedis(tmp_path, "--appendfsync", "always")
    own.up()
    stores = open_stores(load_settings(state=tmp_path / "state", redis_url=own.url, node_id="n1"))
    known: list[str] = []
    enough = threading.Event()

    def submit() -> None:
        number = 0
        while True:
            try:
                for answer in stores.jobs.create_many([new_job(f"j{number + i}") for i in range(10)]):
                    assert not isinstance(answer, Exception)
                    known.append(f"j{number}")
                    number += 1
            except (StoreUnavailable, AssertionError):
                return
            finally:
                if number >= moment:
                    enough.set()

    writer = threading.Thread(target=submit)
    writer.start()
    try:
        assert enough.wait(60)
        own.down()
        writer.join(60)
        own.up()
        assert len(known) >= moment
        assert [job for job in stores.jobs.get_many(known) if job is None or job.state is not State.WAITING] == []
        announce(stores, slots=1)
        assert admit(stores, "j0") == "ok"
        stores.jobs.finish(stores.jobs.claim("j0", 1, node="n1", worker="w1"), OK)
        own.down()
        own.up()
        assert stores.jobs.get("j0").outcome == OK
    finally:
        stores.close()
        own.down()


def test_a_disk_that_does_not_take_a_write_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hivemind_worker.store.connection.FLUSH_TIMEOUT_MS", 200)
    own = OwnRedis(tmp_path, "--appendfsync", "no")
    own.up()
    stores = open_stores(load_settings(state=tmp_path / "state", redis_url=own.url))
    try:
        with pytest.raises(StoreUnavailable, match="disk"):
            stores.jobs.create(new_job())
        stores.redis.config_set("appendfsync", "always")
        assert stores.jobs.create(new_job()) == ("same", State.WAITING)
    finally:
        stores.close()
        own.down()


def test_a_file_that_is_switched_on_again_is_waited_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hivemind_worker.store.connection.FLUSH_TIMEOUT_MS", 200)
    own = OwnRedis(tmp_path, "--appendfsync", "no")
    own.up()
    stores = open_stores(load_settings(state=tmp_path / "state", redis_url=own.url))
    try:
        stores.redis.config_set("appendonly", "no")
        assert stores.jobs.create(new_job("unkept"))[0] == "created"
        stores.redis.config_set("appendonly", "yes")
        with pytest.raises(StoreUnavailable, match="disk"):
            stores.jobs.create(new_job("kept"))
    finally:
        stores.close()
        own.down()


def test_the_first_write_is_waited_for_when_it_is_asked_again_on_another_connection(tmp_path: Path) -> None:
    own = OwnRedis(tmp_path, "--appendfsync", "no")
    own.up()
    settings = load_settings(state=tmp_path / "state", redis_url=own.url, durability="everysec")
    loose, strict = open_stores(settings), open_stores(settings.model_copy(update={"durability": "always"}))
    monkey = pytest.MonkeyPatch()
    try:
        loose.jobs.create(new_job())
        monkey.setattr("hivemind_worker.store.connection.FLUSH_TIMEOUT_MS", 200)
        with pytest.raises(StoreUnavailable, match="disk"):
            strict.jobs.create(new_job())
    finally:
        monkey.undo()
        loose.close()
        strict.close()
        own.down()


def test_a_redis_that_keeps_no_file_is_worked_with_and_known_for_it(stores: Stores) -> None:
    assert stores.jobs.create(new_job())[0] == "created"
    assert stores.jobs.create(new_job("t2"))[0] == "created"
    assert not stores.audit.keeps_file()
