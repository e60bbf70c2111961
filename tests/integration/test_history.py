"""Ended jobs in SQL, on a real SQLite and a real PostgreSQL: what goes wrong, what is kept, what is read back."""

from __future__ import annotations

import gc
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import create_engine, text

from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.errors import HistoryUnavailable, NotFound
from hivemind_worker.domain.job import State
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import Settings
from hivemind_worker.store.history import History
from hivemind_worker.store.history_schema import STEPS, VERSION, migrate, version_of
from hivemind_worker.store.history_sql import Database, RowsRefused
from tests.disks import MIB, fill, small_disk
from tests.integration.history_kit import ended, fresh_database, recording, run, status
from tests.processes import eventually

ANY: dict[str, Any] = {"state": "", "owner": None, "after": None}


# A PostgreSQL connection that hung in one test is closed by its own thread, later: it is let go of here, in this file.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*BaseConnection.__del__")


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/there/history.db"
    return fresh_database(request.getfixturevalue("postgres"))


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """The same, with its tables."""
    opened = Database(url, "site")
    opened.prepare()
    yield opened
    opened.close()


@pytest.fixture
def own(settings: Settings, url: str) -> Settings:
    """A node with that history."""
    return settings.model_copy(update={"history_url": type(settings.redis_url)(url) if settings.redis_url else None})


@pytest.fixture
def node(stores: Stores, own: Settings) -> Iterator[Stores]:
    """Its stores."""
    opened = open_stores(own)
    yield opened
    opened.close()


def raw(url: str, statement: str, **values: Any) -> list[Any]:
    """What somebody does to the database behind our back."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []
    finally:
        engine.dispose()


# --- what goes wrong --------------------------------------------------------------------------------------------


def test_tables_of_a_newer_release_are_left_alone_and_named(url: str, database: Database) -> None:
    raw(url, "INSERT INTO hivemind_schema VALUES (99)")
    again = Database(url, "site")
    for call in (again.prepare, lambda: again.page(**ANY, limit=1)):
        with pytest.raises(HistoryUnavailable, match=r"newer release made its tables .version 99"):
            call()
    again.close()


def test_a_step_that_fails_leaves_the_version_before(url: str, database: Database) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))

    def half(connection: Any) -> None:
        connection.execute(text("ALTER TABLE hivemind_jobs ADD COLUMN colour TEXT"))
        raise RuntimeError("pulled the plug")

    if engine.dialect.name == "postgresql":  # SQLite's driver ends a transaction before such a statement
        with pytest.raises(RuntimeError), engine.begin() as connection:
            migrate(connection, [*STEPS, half])
    with engine.begin() as connection:
        assert version_of(connection) == VERSION
        migrate(connection, [*STEPS, lambda c: c.execute(text("ALTER TABLE hivemind_jobs ADD COLUMN colour TEXT"))])
        assert version_of(connection) == VERSION + 1
        connection.execute(text("SELECT colour FROM hivemind_jobs"))
    engine.dispose()


def test_one_row_that_the_database_refuses_costs_no_other(node: Stores, own: Settings, url: str) -> None:
    node.history.database().prepare()
    if url.startswith("sqlite"):
        raw(
            url,
            "CREATE TRIGGER t BEFORE INSERT ON hivemind_jobs WHEN NEW.task_id = 'poison' "
            "BEGIN SELECT RAISE(ABORT, 'poison'); END",
        )
    else:
        raw(url, "ALTER TABLE hivemind_jobs ADD CHECK (task_id <> 'poison')")
    with pytest.raises(RowsRefused):
        node.history.database().write([ended("fine"), ended("poison")])
    assert node.history.database().page(**ANY, limit=9) == []
    for task_id in ("a", "poison", "b"):
        run(node, task_id)
    with recording(node, own):
        eventually(lambda: status(node, own).lag_entries == 0 and status(node, own).delivered > 0)
    assert set(node.history.get_many(["a", "poison", "b"])) == {"a", "b"}
    assert status(node, own).refused == 1
    assert node.jobs.get("poison").state is State.COMPLETED


def test_a_record_nobody_can_read_is_set_aside_and_the_rest_goes_on(
    node: Stores, own: Settings, client: redis.Redis
) -> None:
    for task_id in ("a", "broken", "gone", "b"):
        run(node, task_id)
    client.hset(node.keys.job("broken"), "spec", "{")
    client.delete(node.keys.job("gone"))
    client.xadd(node.keys.events, {"id": "a", "state": "levitating", "attempt": "x"})
    with recording(node, own):
        eventually(lambda: status(node, own).refused == 3)
        eventually(lambda: status(node, own).lag_entries == 0)
    assert set(node.history.get_many(["a", "b", "broken", "gone"])) == {"a", "b"}
    reasons = b" ".join(body[b"why"] for _, body in client.xrange(node.keys.set_aside(status(node, own).group)))
    for word in (b"is damaged", b"gone before", b"levitating"):
        assert word in reasons


def test_a_locked_file_is_waited_for_and_loses_nothing(settings: Settings, stores: Stores, tmp_path: Path) -> None:
    stores.history.database().prepare()
    lock = sqlite3.connect(settings.history.removeprefix("sqlite:///"), isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    with recording(stores, settings):
        run(stores, "a")
        eventually(lambda: "locked" in status(stores, settings).trouble)
        assert stores.redis.ttl(stores.keys.job("a")) > 8 * 86400
        lock.execute("ROLLBACK")
        eventually(lambda: status(stores, settings).lag_entries == 0)
        eventually(lambda: status(stores, settings).trouble == "")
    assert stores.history.get_many(["a"])["a"].state is State.COMPLETED
    assert stores.redis.ttl(stores.keys.job("a")) <= 7 * 86400
    lock.close()


def test_a_full_disk_is_waited_for_and_loses_nothing(settings: Settings, stores: Stores, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 2 * MIB) as folder:
        full = settings.model_copy(update={"history_url": type(settings.redis_url)(f"sqlite:///{folder}/h.db")})  # type: ignore[misc]
        node = open_stores(full)
        node.history.database().prepare()
        fill(folder)
        for i in range(30):
            run(node, f"j{i}", command=("x" * 50_000,))
        with recording(node, full):
            eventually(lambda: "full" in status(node, full).trouble or "I/O" in status(node, full).trouble)
            assert node.jobs.get("j0").state is State.COMPLETED
            (folder / "filler").unlink()
            eventually(lambda: len(node.history.get_many([f"j{i}" for i in range(5)])) == 5)
        node.close()


def test_a_file_that_is_no_database_is_named_and_not_touched(settings: Settings, stores: Stores) -> None:
    file = Path(settings.history.removeprefix("sqlite:///"))
    file.parent.mkdir(parents=True)
    file.write_bytes(b"my diary, please keep" * 100)
    with recording(stores, settings):
        run(stores, "a")
        eventually(lambda: "not a database" in status(stores, settings).trouble)
    with pytest.raises(HistoryUnavailable, match="not a database"):
        stores.history.page(state=None, owner=None, after=None, limit=1)
    assert file.read_bytes().startswith(b"my diary")


def test_a_stalled_recorder_that_wakes_up_settles_nothing(node: Stores, own: Settings) -> None:
    with recording(node, own, "first"):
        run(node, "a")
        eventually(lambda: status(node, own).delivered > 0 and status(node, own).lag_entries == 0)
        with recording(node, own, "second"):
            run(node, "b")
            eventually(lambda: len(node.history.get_many(["a", "b"])) == 2)
    assert status(node, own).refused == 0


# --- what is kept -------------------------------------------------------------------------------------------------


def test_what_ended_is_there_after_redis_has_forgotten_it(node: Stores, own: Settings, client: redis.Redis) -> None:
    run(node, "a", Cause.EXIT, owner="ann", command=("false",), env={"A": "hunter2"}, secrets={"B": "hunter3"})
    before = node.jobs.get("a")
    with recording(node, own):
        eventually(lambda: status(node, own).lag_entries == 0 and status(node, own).delivered > 0)
    assert 0 < client.ttl(node.keys.job("a")) <= own.retention
    client.delete(node.keys.job("a"))
    found = node.catalogue.get("a")
    assert found.archived is not None
    assert found.archived.artifact_kept is False
    plain = found.model_copy(update={"archived": None})
    assert plain.outcome == before.outcome
    assert plain.times == before.times
    assert (plain.state, plain.node, plain.assignment.owner) == (State.FAILED, "n1", "ann")
    with pytest.raises(NotFound):
        node.catalogue.get("nobody")


def test_neither_secrets_nor_environments_are_kept(stores: Stores, settings: Settings) -> None:
    run(stores, "a", env={"A": "hunter2"}, secrets={"B": "hunter3"})
    with recording(stores, settings):
        eventually(lambda: len(stores.history.get_many(["a"])) == 1)
    for file in Path(settings.history.removeprefix("sqlite:///")).parent.iterdir():
        assert b"hunter" not in file.read_bytes()


def test_written_twice_is_kept_once(database: Database) -> None:
    database.write([ended("a"), ended("a", cause=Cause.EXIT)])
    database.write([ended("a", cause=Cause.EXIT)])
    assert [job.state for job in database.page(**ANY, limit=9)] == [State.FAILED]


def test_events_lost_while_nobody_recorded_are_made_up_for_from_the_records(
    node: Stores, own: Settings, client: redis.Redis
) -> None:
    with recording(node, own):
        run(node, "before")
        eventually(lambda: len(node.history.get_many(["before"])) == 1)
        eventually(lambda: status(node, own).lag_entries == 0)
    for i in range(20):
        run(node, f"during{i}")
    client.xtrim(node.keys.events, maxlen=3, approximate=False)
    with recording(node, own):
        eventually(lambda: len(node.history.get_many([f"during{i}" for i in range(20)])) == 20)
        eventually(lambda: not status(node, own).resyncing)
    assert status(node, own).gaps == 1
    assert max(client.ttl(node.keys.job(f"during{i}")) for i in range(20)) <= own.retention


def test_a_site_that_had_no_history_gets_one_of_all_it_has_on_record(
    node: Stores, own: Settings, client: redis.Redis
) -> None:
    for i in range(5):
        run(node, f"old{i}")
    client.delete(node.keys.events)
    with recording(node, own):
        eventually(lambda: len(node.history.get_many([f"old{i}" for i in range(5)])) == 5)


def test_what_is_too_old_is_forgotten_some_at_a_time(database: Database) -> None:
    database.write([ended(f"j{i:02}", created=1000 * i) for i in range(25)])
    other = Database(str(database._url.render_as_string(hide_password=False)), "other site")
    other.write([ended("theirs", created=0)])
    limit = 60_000 + 20_000
    assert [database.forget(limit, 8) for _ in range(4)] == [8, 8, 4, 0]
    assert [job.task_id for job in database.page(**ANY, limit=99)] == [f"j{i:02}" for i in range(24, 19, -1)]
    assert len(other.page(**ANY, limit=9)) == 1
    other.close()


def test_an_id_used_again_shows_its_newest_job_and_lists_both(database: Database) -> None:
    database.write([ended("a", created=2000, cause=Cause.EXIT), ended("a", created=1000)])
    assert database.get_many(["a"])["a"].times.created == 2000
    assert [job.times.created for job in database.page(**ANY, limit=9)] == [2000, 1000]


# --- what is read back ----------------------------------------------------------------------------------------------


def test_a_reader_makes_no_database(tmp_path: Path) -> None:
    empty = History(f"sqlite:///{tmp_path}/none/history.db", "site")
    assert empty.page(state=None, owner=None, after=None, limit=9) == []
    assert not (tmp_path / "none").exists()
    empty.close()


def test_rows_that_somebody_edited_hide_no_others(url: str, database: Database) -> None:
    database.write([ended(f"j{i}", created=1000 * i) for i in range(8)])
    for i, nonsense in enumerate(("", "{", "[]", "null", '{"state": "levitating"}'), start=2):
        raw(url, "UPDATE hivemind_jobs SET view = :view WHERE task_id = :id", view=nonsense, id=f"j{i}")
    page = database.page(**ANY, limit=2)
    assert [job.task_id for job in page] == ["j7", "j1"]
    after = (page[-1].times.created, page[-1].task_id)
    assert [job.task_id for job in database.page(**ANY | {"after": after}, limit=2)] == ["j0"]


def test_ends_are_read_in_their_order_from_a_moment_on(database: Database) -> None:
    database.write([ended(f"j{i}", created=1000 * (i // 2)) for i in range(8)])
    first = database.ended_since(61_000, None, 3)
    assert [job.task_id for job in first] == ["j2", "j3", "j4"]
    rest = database.ended_since(61_000, (first[-1].times.finished or 0, first[-1].task_id), 9)
    assert [job.task_id for job in rest] == ["j5", "j6", "j7"]


def test_ids_sort_as_redis_sorts_them(database: Database) -> None:
    ids = ["a", "B", "a_", "0", "a.b", "a-b", "A", "Z", "aa", "a0"]
    database.write([ended(task_id) for task_id in ids])
    assert [job.task_id for job in database.page(**ANY, limit=99)] == sorted(ids, reverse=True)
