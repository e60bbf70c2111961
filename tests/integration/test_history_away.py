"""The history on a PostgreSQL that goes away, hangs, or vanishes with its machine."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.errors import HistoryUnavailable
from hivemind_worker.monitor.outboxes import finding
from hivemind_worker.settings import Settings
from hivemind_worker.store.history_sql import Database
from hivemind_worker.store.outbox_status import OutboxStatus
from tests.integration.history_kit import recording, run, status
from tests.postgres import Postgres
from tests.processes import eventually

# A PostgreSQL connection that hung in one test is closed by its own thread, later: it is let go of here, in this file.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*BaseConnection.__del__")


@pytest.fixture(autouse=True)
def _let_go() -> Iterator[None]:
    yield
    gc.collect()


@contextmanager
def over_tcp(server: Postgres) -> Iterator[int]:
    """A port of this machine that leads to the server's Unix socket, for one connection."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def lead() -> None:
        outer, _ = door.accept()
        with outer, socket.socket(socket.AF_UNIX) as inner:
            inner.connect(f"{server.folder}/.s.PGSQL.5432")
            back = threading.Thread(target=pump, args=(inner, outer))
            back.start()
            pump(outer, inner)
            back.join()

    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=lead)
        thread.start()
        yield door.getsockname()[1]
        thread.join(20)


def test_a_server_that_is_away_is_waited_for_and_loses_nothing(settings: Settings, stores: Stores) -> None:
    server = Postgres()
    try:
        server.up()
        chosen = settings.model_copy(update={"history_url": type(settings.redis_url)(server.url)})  # type: ignore[misc]
        node = open_stores(chosen)
        with recording(node, chosen):
            run(node, "before")
            eventually(lambda: "before" in node.history.get_many(["before"]))
            server.down()
            run(node, "during")
            eventually(lambda: status(node, chosen).trouble != "")
            assert node.catalogue.list().note.startswith("older jobs are missing: the history does not answer")
            assert [job.task_id for job in node.catalogue.list().jobs] == ["during", "before"]
            with pytest.raises(HistoryUnavailable, match="Redis does not know job nobody"):
                node.catalogue.get("nobody")
            server.up()
            eventually(lambda: status(node, chosen).lag_entries == 0)
        assert set(node.history.get_many(["before", "during"])) == {"before", "during"}
        server.signal(signal.SIGSTOP)
        try:
            with pytest.raises(HistoryUnavailable, match="no answer within"):
                node.history.get_many(["before"])
            with pytest.raises(HistoryUnavailable, match="a moment ago"):
                node.history.get_many(["before"])
        finally:
            server.signal(signal.SIGCONT)
        node.close()
    finally:
        server.remove()


def test_a_server_that_hangs_in_a_write_is_named_also_when_the_term_has_run_out(
    settings: Settings, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hivemind_worker.monitor.outboxes.PATIENCE", 0.3)
    server = Postgres()
    try:
        server.up()
        chosen = settings.model_copy(update={"history_url": type(settings.redis_url)(server.url)})  # type: ignore[misc]
        node = open_stores(chosen)
        with recording(node, chosen, term=2.0):
            run(node, "before")
            eventually(lambda: "before" in node.history.get_many(["before"]))
            server.signal(signal.SIGSTOP)
            try:
                run(node, "during")
                for led in (True, False):
                    eventually(lambda led=led: hangs(status(node, chosen)) == (led, True))
            finally:
                server.signal(signal.SIGCONT)
            eventually(lambda: status(node, chosen).lag_entries == 0)
            eventually(lambda: finding(status(node, chosen), "the history")[0])
        assert "during" in node.history.get_many(["during"])
        node.close()
    finally:
        server.remove()


def hangs(found: OutboxStatus) -> tuple[bool, bool]:
    """Whether anybody leads, and whether /health says that the history does not answer."""
    well, said = finding(found, "the history")
    return found.led, not well and "the history does not answer: it was asked" in said


def test_a_server_whose_machine_vanishes_is_given_up_within_half_a_minute(postgres: Postgres) -> None:
    with over_tcp(postgres) as port:
        database = Database(f"postgresql://hivemind@127.0.0.1:{port}/postgres", "site")
        connection = database._engine(True).raw_connection()
        with socket.socket(fileno=os.dup(connection.driver_connection.fileno())) as wire:  # type: ignore[union-attr]
            assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
            idle, interval, count, unheard = (wire.getsockopt(socket.IPPROTO_TCP, name) for name in names)
        connection.close()
        database.close()
    assert idle + interval * count <= 30
    assert 0 < unheard <= 30_000
