"""The history's database: SQLite or PostgreSQL through SQLAlchemy. Loaded only by processes that touch the history."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Select, create_engine, delete, event, select, text, tuple_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError, StatementError

from hivemind_worker.domain.errors import HistoryUnavailable
from hivemind_worker.domain.job import Archived, Job, job_of_view, view
from hivemind_worker.domain.outcome import Usage
from hivemind_worker.store.history_schema import JOBS, VERSION, migrate, version_of
from hivemind_worker.store.index import Place

#: seconds that a writer waits for another's lock, and a reader
_WRITER_PATIENCE, _READER_PATIENCE = 5.0, 1.0
#: a server whose machine vanished is given up after 25 s, whether it was being waited for or written to; seconds, and
#: the last in milliseconds
_ALIVE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
#: one migration at a time: the number of PostgreSQL's advisory lock
_MIGRATION_LOCK = 0x686D_6A6F_6273


class RowsRefused(Exception):
    """The database is well, but takes one of these rows for nonsense."""


class Database:
    """One history. Threads may share it. Calls raise HistoryUnavailable when the database is away, locked or full."""

    def __init__(self, url: str, namespace: str) -> None:
        self._url = make_url(url)
        if self._url.drivername in ("postgres", "postgresql"):
            self._url = self._url.set(drivername="postgresql+psycopg")
        self._file = Path(self._url.database) if self._url.drivername == "sqlite" and self._url.database else None
        self._namespace = namespace
        self._engines: dict[bool, Engine] = {}
        self._checked = False

    # --- writing ------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the tables, or bring them to this release's version."""
        with self._session(write=True) as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
            _not_newer(migrate(connection))

    def write(self, jobs: Sequence[Job]) -> None:
        """Keep ended jobs; those it has already are written over. Raises RowsRefused, and keeps none then."""
        if not jobs:
            return
        rows = [row_of(self._namespace, job) for job in jobs]
        with self._session(write=True) as connection:
            dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
            statement = dialect.insert(JOBS)
            fresh = {column.name: statement.excluded[column.name] for column in JOBS.c if not column.primary_key}
            try:
                connection.execute(statement.on_conflict_do_update(index_elements=JOBS.primary_key, set_=fresh), rows)
            except (DataError, IntegrityError, OverflowError, ValueError) as error:
                raise RowsRefused(_words(error)) from None
            except StatementError as error:
                if isinstance(error, DBAPIError):
                    raise
                raise RowsRefused(_words(error)) from None

    def forget(self, ended_before: int, most: int) -> int:
        """Delete jobs that ended before this time (epoch ms), the oldest first; how many went, `most` at a time."""
        key = (JOBS.c.namespace, JOBS.c.task_id, JOBS.c.created)
        old = select(*key).where(JOBS.c.namespace == self._namespace, JOBS.c.finished < ended_before)
        oldest = old.order_by(JOBS.c.finished, JOBS.c.task_id, JOBS.c.created).limit(most)
        with self._session(write=True) as connection:
            return int(connection.execute(delete(JOBS).where(tuple_(*key).in_(oldest))).rowcount)

    # --- reading ------------------------------------------------------------------------------------

    def get_many(self, task_ids: Sequence[str]) -> dict[str, Job]:
        """Jobs by id, the newest of each."""
        wanted = select(JOBS.c.created, JOBS.c.task_id, JOBS.c.view).where(JOBS.c.task_id.in_(list(task_ids)))
        rows = self._rows(wanted.order_by(JOBS.c.created))
        return {job.task_id: job for row in rows if (job := _job(row)) is not None}

    def page(self, *, state: str, owner: str | None, after: Place | None, limit: int) -> list[Job]:
        """The next jobs behind a place, newest first, ties by id; `state` '' is any."""
        wanted = select(JOBS.c.created, JOBS.c.task_id, JOBS.c.view)
        if state:
            wanted = wanted.where(JOBS.c.state == state)
        if owner is not None:
            wanted = wanted.where(JOBS.c.owner == owner)
        wanted = wanted.order_by(JOBS.c.created.desc(), JOBS.c.task_id.desc()).limit(limit)
        return self._readable(wanted, (JOBS.c.created, JOBS.c.task_id), after, limit, newest_first=True)

    def ended_since(self, moment: int, after: Place | None, limit: int) -> list[Job]:
        """Jobs that ended at this time (epoch ms) or later, in the order of their ends, behind (end, id)."""
        wanted = select(JOBS.c.finished, JOBS.c.task_id, JOBS.c.view).where(JOBS.c.finished >= moment)
        wanted = wanted.order_by(JOBS.c.finished, JOBS.c.task_id).limit(limit)
        return self._readable(wanted, (JOBS.c.finished, JOBS.c.task_id), after, limit, newest_first=False)

    def ping(self) -> None:
        """Whether it answers."""
        with self._session(write=False):
            pass

    def close(self) -> None:
        """Give the connections back."""
        for engine in self._engines.values():
            engine.dispose()

    # --- beneath ------------------------------------------------------------------------------------

    def _readable(
        self, wanted: Select[Any], place: tuple[Any, Any], after: Place | None, limit: int, *, newest_first: bool
    ) -> list[Job]:
        """As many jobs as wanted: a row that cannot be read is passed over, and another takes its place."""
        found: list[Job] = []
        while True:
            rest = wanted
            if after is not None:
                here = tuple_(*place)
                rest = wanted.where(here < tuple_(*after) if newest_first else here > tuple_(*after))
            rows = self._rows(rest)
            found += [job for row in rows if (job := _job(row)) is not None]
            if len(rows) < limit or len(found) >= limit:
                return found[:limit]
            after = (rows[-1][0], rows[-1][1])

    def _rows(self, wanted: Select[Any]) -> list[tuple[int, str, str]]:
        if self._file is not None and not self._file.exists():
            return []  # nothing was ever written, and a reader makes no database
        with self._session(write=False) as connection:
            if not self._checked:
                found = version_of(connection)
                if found == 0:
                    return []
                _not_newer(found)
                if found < VERSION:
                    raise HistoryUnavailable("its tables are an older release's; the bridge brings them up to date")
                self._checked = True
            rows = connection.execute(wanted.where(JOBS.c.namespace == self._namespace)).all()
            return [(row[0], row[1], row[2]) for row in rows]

    @contextmanager
    def _session(self, *, write: bool) -> Iterator[Connection]:
        try:
            with self._engine(write).begin() as connection:
                yield connection
        except (SQLAlchemyError, OSError) as error:
            self._checked = False  # it may come back as another
            raise HistoryUnavailable(_words(error)) from None

    def _engine(self, write: bool) -> Engine:
        if write not in self._engines:
            self._engines[write] = self._open(write)
        return self._engines[write]

    def _open(self, write: bool) -> Engine:
        if self._file is None:
            options = {"connect_timeout": 5, "options": "-c statement_timeout=10000 -c lock_timeout=5000", **_ALIVE}
            return create_engine(
                self._url, pool_size=2, max_overflow=2, pool_timeout=2, pool_pre_ping=True, connect_args=options
            )
        if write:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        patience = _WRITER_PATIENCE if write else _READER_PATIENCE
        engine = create_engine(self._url, connect_args={"timeout": patience}, pool_timeout=patience)
        _as_sqlite_should(engine, write)
        return engine


def _as_sqlite_should(engine: Engine, write: bool) -> None:
    """Transactions begin when we say so, and a commit is on the disk: the record in Redis is let go after it."""

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL") if write else ():
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def row_of(namespace: str, job: Job) -> dict[str, Any]:
    """A row for an ended job. Pure."""
    outcome, times = job.outcome, job.times
    usage = outcome.usage if outcome else Usage()
    return {
        "namespace": namespace,
        "task_id": job.task_id,
        "created": times.created,
        "owner": job.assignment.owner,
        "state": job.state.value,
        "cause": outcome.cause.value if outcome else "",
        "attempt": job.attempt,
        "node": job.node,
        "started": times.started,
        "finished": times.finished or times.created,
        "exit_code": outcome.exit_code if outcome else None,
        "cpu_seconds": usage.cpu_seconds,
        "memory_peak": usage.memory_peak,
        "view": json.dumps(view(job), separators=(",", ":")),
    }


def _job(row: tuple[int, str, str]) -> Job | None:
    """The job of a row; None for one that somebody edited into nonsense, which hides none of the others."""
    try:
        shown: Mapping[str, Any] = json.loads(row[2])
        return job_of_view(shown, Archived())
    except ValueError:
        return None


def _not_newer(version: int) -> None:
    if version > VERSION:
        raise HistoryUnavailable(f"a newer release made its tables (version {version}; this one knows {VERSION})")


def _words(error: Exception) -> str:
    """What the driver says, in one line: SQLAlchemy's own message would quote the statement and its data."""
    cause = error.orig if isinstance(error, StatementError) and error.orig is not None else error
    if isinstance(cause, NoSuchModuleError):
        return str(cause)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return (lines[0] if lines else type(cause).__name__)[:300]
