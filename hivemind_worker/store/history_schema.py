"""The history's tables, and how one version of them becomes the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    func,
    insert,
    inspect,
    select,
)

TABLES = MetaData()

#: ids sort as Redis sorts them, byte by byte, whatever language the database speaks
_ID = String(64).with_variant(String(64, collation="C"), "postgresql")

#: one row per job that has ended; times in epoch milliseconds. `view` is the job as every surface shows it, as JSON:
#: no secret, no environment
JOBS = Table(
    "hivemind_jobs",
    TABLES,
    Column("namespace", String(64), primary_key=True),
    Column("task_id", _ID, primary_key=True),
    Column("created", BigInteger, primary_key=True),  # an id may be used again once Redis has forgotten it
    Column("owner", String(128), nullable=False),
    Column("state", String(16), nullable=False),
    Column("cause", String(16), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("node", String(64), nullable=False),
    Column("started", BigInteger),
    Column("finished", BigInteger, nullable=False),
    Column("exit_code", Integer),
    Column("cpu_seconds", Float, nullable=False),
    Column("memory_peak", BigInteger, nullable=False),
    Column("view", Text, nullable=False),
    Index("hivemind_jobs_newest", "namespace", "created", "task_id"),
    Index("hivemind_jobs_owner", "namespace", "owner", "created", "task_id"),
    Index("hivemind_jobs_owner_state", "namespace", "owner", "state", "created", "task_id"),
    Index("hivemind_jobs_state", "namespace", "state", "created", "task_id"),
    Index("hivemind_jobs_ended", "namespace", "finished", "task_id", "created"),
)

#: one row per step that was taken
SCHEMA = Table("hivemind_schema", TABLES, Column("version", Integer, primary_key=True))

#: the n-th step makes version n; a step that was released is never changed
STEPS: Sequence[Callable[[Connection], None]] = (lambda connection: JOBS.create(connection, checkfirst=True),)
VERSION = len(STEPS)


def version_of(connection: Connection) -> int:
    """The version that the database has; 0: nothing of ours is there."""
    if not inspect(connection).has_table(SCHEMA.name):
        return 0
    return int(connection.execute(select(func.max(SCHEMA.c.version))).scalar() or 0)


def migrate(connection: Connection, steps: Sequence[Callable[[Connection], None]] = STEPS) -> int:
    """Take the steps that are missing, within the caller's transaction; the version it had before."""
    SCHEMA.create(connection, checkfirst=True)
    before = version_of(connection)
    for number in range(before + 1, len(steps) + 1):
        steps[number - 1](connection)
        connection.execute(insert(SCHEMA).values(version=number))
    return before
