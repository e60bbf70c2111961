"""From the fields of a job's hash to a job: versions, and what cannot be read.

A record of an older release is read through `MIGRATIONS`. One of a newer release, and one that is damaged, is never
run: `job_of` refuses it by name, `shown_of` shows it in lists with the reason in place of evidence.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from pydantic import ValidationError

from hivemind_worker.domain.assignment import Assignment
from hivemind_worker.domain.errors import RecordCorrupt, RecordTooNew
from hivemind_worker.domain.job import Job, PastAttempt, State, Times
from hivemind_worker.domain.outcome import Outcome
from hivemind_worker.domain.resources import MIN_MEMORY, SHAPE, Request
from hivemind_worker.store.connection import DAMAGED

#: what this release writes; scripts/_lib.lua says the same
VERSION = 3
PAST = "past:"
#: fields that may be damaged without harm to the job: the audit mends a row
_NOT_READ = (PAST, "row")
#: what `job_of` raises
UNREADABLE = (RecordTooNew, RecordCorrupt)


def _from_1(record: dict[str, str]) -> dict[str, str]:
    """Release 0.1: the record did not name its shape."""
    spec = Assignment.model_validate_json(record["spec"])
    return record | {"shape": spec.line, "version": "2"}


def _from_2(record: dict[str, str]) -> dict[str, str]:
    """The record did not name its home: nobody knows who holds its bundle, any node may try."""
    return record | {"home": "", "version": "3"}


#: version → what makes the next one of it
MIGRATIONS: Mapping[int, Callable[[dict[str, str]], dict[str, str]]] = {1: _from_1, 2: _from_2}


def current(record: Mapping[str, str], task_id: str = "") -> dict[str, str]:
    """The record as this release writes it. Raises RecordTooNew, RecordCorrupt."""
    name, fresh = task_id or "a job", dict(record)
    try:
        version = int(fresh["version"])
        if version > VERSION:
            raise RecordTooNew(f"the record of {name} is of version {version}; this release reads up to {VERSION}")
        damaged = [each for each in fresh.get(DAMAGED, "").split("\n") if each and not each.startswith(_NOT_READ)]
        if damaged:
            raise ValueError(f"its {damaged[0]} is no UTF-8")
        while version < VERSION:
            fresh = MIGRATIONS[version](fresh)
            version = int(fresh["version"])
        if not SHAPE.match(fresh.get("shape", "")):
            fresh["shape"] = Assignment.model_validate_json(fresh["spec"]).line
    except (KeyError, ValueError, TypeError) as error:
        raise RecordCorrupt(f"the record of {name} is damaged: {_why(error)}") from None
    return fresh


def job_of(record: Mapping[str, str], task_id: str = "") -> Job:
    """A job from its fields. Raises RecordTooNew, RecordCorrupt."""
    fresh = current(record, task_id)
    try:
        return _read(fresh)
    except (KeyError, ValueError, TypeError) as error:
        raise RecordCorrupt(f"the record of {task_id or 'a job'} is damaged: {_why(error)}") from None


def shown_of(record: Mapping[str, str], task_id: str) -> Job:
    """The same for eyes only: what cannot be read comes as a job with its `trouble`. Never raises."""
    try:
        return job_of(record, task_id)
    except UNREADABLE as error:
        return _placeholder(record, task_id, str(error))


def _read(record: Mapping[str, str]) -> Job:
    def milliseconds(name: str) -> int | None:
        return int(record[name]) if record.get(name) else None

    return Job(
        assignment=Assignment.model_validate_json(record["spec"]),
        state=State(record["state"]),
        attempt=int(record["attempt"]),
        node=record.get("node", ""),
        worker=record.get("worker", ""),
        times=Times(
            created=int(record["created"]),
            admitted=milliseconds("admitted"),
            started=milliseconds("started"),
            finished=milliseconds("finished"),
        ),
        stop_grace=float(record["stop_grace"]) if "stop_grace" in record else None,
        outcome=Outcome.model_validate(json.loads(record["outcome"])) if "outcome" in record else None,
        failures=int(record.get("failures", 0)),
        infra_failures=int(record.get("infra_failures", 0)),
        not_before=milliseconds("not_before"),
        past=_past(record),
        downs=int(record.get("downs", 0)),
        downs_seen=_seen(record.get("downs_seen", "")),
    )


def _seen(notes: str) -> tuple[tuple[int, str], ...]:
    pairs = (note.partition(" ") for note in notes.split("|") if note)
    return tuple((int(at), worker) for at, _, worker in pairs if at.isdigit())


def _past(record: Mapping[str, str]) -> tuple[PastAttempt, ...]:
    """Past attempts, oldest first; one that cannot be read is history's loss, not the job's."""
    found = []
    for name, body in record.items():
        if name.startswith(PAST):
            try:
                found.append(PastAttempt.model_validate_json(body))
            except ValidationError:
                continue
    return tuple(sorted(found, key=lambda attempt: attempt.attempt))


def _placeholder(record: Mapping[str, str], task_id: str, trouble: str) -> Job:
    def number(name: str) -> int:
        text = record.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0

    def outcome() -> Outcome | None:
        try:
            return Outcome.model_validate_json(record["outcome"])
        except (KeyError, ValueError):
            return None

    request = Request(cpu=0.01, memory=MIN_MEMORY, disk=1024 * 1024, pids=1)
    return Job(
        assignment=Assignment.model_construct(task_id=task_id, image="", requests=request, timeout_seconds=1.0),
        state=State(record["state"]) if record.get("state") in set(State) else State.WAITING,
        attempt=number("attempt"),
        node=record.get("node", ""),
        worker=record.get("worker", ""),
        times=Times(created=number("created"), finished=number("finished") or None),
        outcome=outcome(),
        trouble=trouble,
    )


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'spec'}: {first['msg']}"
    return f"it has no {error.args[0]}" if isinstance(error, KeyError) else str(error)[:200]
