"""After the nemesis: everything ends, nothing is left, and what the site keeps of a job is read through its doors."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import os
import queue
import sqlite3
import tempfile
import threading
import time
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

import redis

from bridge.call_error import CallError
from bridge.client import Client
from hivemind_worker.store.connection import fields
from hivemind_worker.store.keys import Keys
from tests.chaos.journal import Journal
from tests.chaos.logs import LogReader
from tests.chaos.master import Master, outcome_of, read_log
from tests.chaos.stack import API, WORKERS, Stack
from tests.processes import came_true

#: seconds that the last job may take to end once the nemesis is gone, and that what is left may take to go
END_WITHIN, CLEAN_WITHIN = 240.0, 30.0
#: the same where jobs were harmed that cannot end any more
HARMED_END_WITHIN = 75.0
READERS = 4
#: kinds of keys (store/keys.py) that a site has although no job is on its way; all others go with the jobs
STAYS = (
    "job", "log", "index", "events", "outbox", "nodes", "node", "boot", "sweeper", "runs", "usage", "site", "lease",
    "rate",
)  # fmt: skip


def await_end(master: Master, journal: Journal, within: float = END_WITHIN) -> None:
    """Wait until every acknowledged job has ended; note those that do not."""
    for job in sorted(master.await_ends(within)):
        journal.note("unended", job=job)


def await_clean(stack: Stack) -> None:
    """Wait until nothing is left; note what is."""
    began = time.monotonic()
    left: list[tuple[str, str]] = []

    def nothing_left() -> bool:
        left[:] = leftovers(stack)
        return not left

    came_true(nothing_left, CLEAN_WITHIN, every=0.3)
    for what, name in left:
        stack.journal.note("left", what=what, name=name, job=_job_in(name))
    stack.journal.note("clean", after=round(time.monotonic() - began, 1), left=len(left))


def leftovers(stack: Stack) -> list[tuple[str, str]]:
    """What is there although no job is, and which worker is not there: (kind, name)."""
    found: list[tuple[str, str]] = []
    found += [("container", one["Names"][0].lstrip("/")) for one in stack.engine.ask("/containers/json?all=1")]
    found += [("network", name) for name in stack.engine.networks()]
    for node, state in stack.nodes.items():
        found += [("workspace", f"{node}/{path.name}") for path in (state / "workspaces").iterdir()]
        found += [("temporary file", f"{node}/{name}") for name in _temporary(state / "tmp")]
    found += [("absence of", worker) for worker in sorted(set(WORKERS.values()) - stack.leases())]
    found += _in_redis(stack.client)
    return found


def _in_redis(client: redis.Redis) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    keys = Keys("hivemind")
    jobs: set[str] = set()
    for raw in client.scan_iter(count=1000):
        name = raw.decode()
        if not name.startswith(keys.prefix):
            if client.type(name) == b"list":
                found.append(("message", f"{name}: {client.llen(name)}"))
            continue
        kind, _, rest = name.removeprefix(keys.prefix).partition(":")
        if kind == "reservations":
            found += [("reservation", f"{name}: {field.decode()}") for field in client.hkeys(name)]
        elif kind not in STAYS:
            found.append((kind.partition("/")[0], name))
        elif kind == "lease" and name.rpartition(":")[2] not in WORKERS.values():
            found.append(("lease", name))
        elif kind in ("job", "log") and client.ttl(name) == -1:
            found.append((f"{kind} without an end", name))
        if kind == "job":
            jobs.add(rest)
    indexed = {member.decode() for member in client.zrange(keys.index, 0, -1)}
    found += [("record that no index knows", job) for job in sorted(jobs - indexed)]
    found += [("place in the index without a record", job) for job in sorted(indexed - jobs)]
    return found


def _temporary(folder: Path) -> list[str]:
    """Files on their way, and folders for them whose process is gone: a living one holds a lock on its own."""
    found = []
    for path in folder.iterdir():
        if not path.is_dir():
            found.append(path.name)
            continue
        found += [f"{path.name}/{inside.name}" for inside in path.iterdir()]
        descriptor = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found.append(f"{path.name}: nobody's folder")
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)
    return found


def read_history(stack: Stack) -> None:
    """Every row of the history's own database into the journal, once it is complete or has had its time."""
    path = stack.nodes["n1"] / "history" / "history.db"
    known = {entry["job"] for entry in stack.journal.of("ack")}
    rows: list[dict[str, Any]] = []

    def all_there() -> bool:
        try:
            with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
                found = database.execute(
                    "SELECT task_id, state, cause, attempt, exit_code, finished FROM hivemind_jobs"
                )
                names = ("job", "state", "cause", "attempt", "exit_code", "finished")
                rows[:] = [dict(zip(names, row, strict=True)) for row in found]
        except sqlite3.Error as error:
            rows.clear()
            stack.journal.note("history away", why=str(error))
        return known <= {row["job"] for row in rows}

    came_true(all_there, CLEAN_WITHIN, every=0.3)
    for row in rows:
        stack.journal.note("history", **row)
    stack.journal.note("history read", rows=len(rows))


def _job_in(name: str) -> str:
    """The job that a leftover's name speaks of, where it does."""
    import re

    match = re.search(r"c\d+-\d{5}", name)
    return match.group() if match else ""


def read_everything(stack: Stack, master: Master, address: str) -> None:
    """Every acknowledged job's record, log and artifact into the journal."""
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    for job in sorted(master.acknowledged):
        todo.put(job)
    read = stack.journal.guarded("reader", _read_jobs)
    readers = [threading.Thread(target=read, args=(stack, address, todo)) for _ in range(READERS)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()


def _read_jobs(stack: Stack, address: str, todo: queue.SimpleQueue[str]) -> None:
    with Client(address) as client:
        while True:
            try:
                job = todo.get_nowait()
            except queue.Empty:
                return
            read_job(stack.journal, stack.client, client, job)


def read_job(journal: Journal, server: redis.Redis, client: Client, job: str) -> None:
    """One job's record, log and artifact. What cannot be read, for whatever reason, is noted."""
    try:
        record = fields(server.hgetall(Keys("hivemind").job(job)))
        journal.note("record", **(outcome_of(record) | {"job": job}))
        journal.note("final", job=job, door="gRPC", **_shown(client.get(job)))
        journal.note("log", job=job, source="stream", **read_log(client.logs(job)))
        journal.note("log", job=job, source="artifact", **_fetched(client, job))
        journal.note("final", job=job, door="HTTP", **_shown(_asked_over_http(job)))
    except Exception as error:  # noqa: BLE001 - a damaged zip, JSON that is none: nothing may pass for read
        code = error.code if isinstance(error, CallError) else type(error).__name__
        journal.note("unread", job=job, code=code, words=str(error)[:300])


def _asked_over_http(job: str) -> dict[str, Any]:
    """The job as the status API shows it. Raises OSError."""
    with urllib.request.urlopen(f"http://127.0.0.1:{API}/api/tasks/{job}", timeout=30) as answer:
        task: dict[str, Any] = json.loads(answer.read())
    return task


def _shown(task: dict[str, Any]) -> dict[str, Any]:
    names = ("state", "cause", "exit_code", "attempt", "evidence")
    return {name: task.get(name) for name in names} | {"artifact": (task.get("artifact") or {}).get("sha256")}


def _fetched(client: Client, job: str) -> dict[str, Any]:
    """The artifact: its log, its result, and the outcome it tells."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "artifact.zip"
        try:
            client.download(job, path)
        except CallError as error:
            if error.code in ("NOT_FOUND", "FAILED_PRECONDITION"):
                return {"items": [], "missing": str(error)[:200]}
            raise
        data = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            reader = LogReader()
            reader.feed("both", archive.read("execution_log.txt"))
            told = json.loads(archive.read("outcome.json"))
            result = archive.read("result.txt").decode() if "result.txt" in names else None
    return {
        "sha256": hashlib.sha256(data).hexdigest(),
        "truncated": bool((told.get("log") or {}).get("truncated")),
        "items": reader.end(), "result": result, "twice": len(names) != len(set(names)),
        "told": {name: told.get(name) for name in ("task_id", "attempt", "state", "cause", "exit_code")},
    }  # fmt: skip
