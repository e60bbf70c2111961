"""Reads of the history, held to a deadline: a database that hangs holds up nobody."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from hivemind_worker.domain.errors import HistoryUnavailable
from hivemind_worker.domain.job import Job, State
from hivemind_worker.store.index import Place

if TYPE_CHECKING:
    from hivemind_worker.store.history_sql import Database

T = TypeVar("T")

#: seconds one read may take; and for how long nobody asks again after one took longer
DEADLINE, REST = 3.0, 5.0


class History:
    """The ended jobs that Redis has let go of. Threads may share it. Calls may raise HistoryUnavailable.

    With no URL it is empty. SQLAlchemy is loaded at the first call: a worker never makes one.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._url = url
        self._namespace = namespace
        self._lock = threading.Lock()
        self._database: Database | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._rest_until = 0.0

    @property
    def kept(self) -> bool:
        """Whether there is a history at all."""
        return bool(self._url)

    def database(self) -> Database:
        """The database itself, without a deadline, for who writes."""
        with self._lock:
            if self._database is None:
                from hivemind_worker.store.history_sql import Database

                self._database = Database(self._url, self._namespace)
            return self._database

    def get_many(self, task_ids: Sequence[str]) -> dict[str, Job]:
        """Jobs by id, the newest of each; ids that it does not know are left out."""
        if not self.kept or not task_ids:
            return {}
        return self._within_deadline(lambda: self.database().get_many(task_ids))

    def page(self, *, state: State | None, owner: str | None, after: Place | None, limit: int) -> list[Job]:
        """The next jobs behind a place, newest first."""
        if not self.kept:
            return []
        wanted = state.value if state else ""
        return self._within_deadline(lambda: self.database().page(state=wanted, owner=owner, after=after, limit=limit))

    def ended_since(self, moment: int, after: Place | None, limit: int) -> list[Job]:
        """Jobs that ended at this time (epoch ms) or later, oldest end first, behind (end, id)."""
        if not self.kept:
            return []
        return self._within_deadline(lambda: self.database().ended_since(moment, after, limit))

    def ping(self) -> None:
        """Whether it answers."""
        self._within_deadline(lambda: self.database().ping())

    def close(self) -> None:
        """Give the connections back; that of a read which hangs once it comes to its end. Returns at once."""
        with self._lock:
            database, self._database = self._database, None
            threads, self._threads = self._threads, None
        if database is not None:
            database.close()
        if threads is not None:
            threads.shutdown(wait=False, cancel_futures=True)
            threading.Thread(target=_close_after, args=(threads, database), name="history-close", daemon=True).start()

    def _within_deadline(self, call: Callable[[], T]) -> T:
        if monotonic() < self._rest_until:
            raise HistoryUnavailable("it did not answer a moment ago")
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(4, thread_name_prefix="history")
            future: Future[T] = self._threads.submit(call)
        try:
            return future.result(DEADLINE)
        except TimeoutError:
            future.cancel()
            self._rest_until = monotonic() + REST
            raise HistoryUnavailable(f"no answer within {DEADLINE:g} s") from None


def _close_after(threads: ThreadPoolExecutor, database: Database | None) -> None:
    """A connection that was in use when the pool was closed goes back to it, and must be closed then."""
    threads.shutdown(wait=True)
    if database is not None:
        database.close()
