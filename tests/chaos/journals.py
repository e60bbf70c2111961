"""Journals made by hand, for the checker: a sound one, and ways to harm it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.chaos.checker import check
from tests.chaos.journal import Entry

#: what belongs to a container, as the OCI bundle tells it
ABOUT = {"job": "j", "attempt": 1, "node": "n1", "millicores": 500, "memory": 100, "container": "c1"}


#: of its artifact, besides the log
KEPT = {"sha256": "f" * 64, "result": "result 1 3\n", "twice": False}


def event(t: float, number: int, state: str, attempt: int = 1, cause: str = "", job: str = "j") -> Entry:
    said = {"id": f"{number}-0", "job": job, "state": state, "attempt": attempt, "cause": cause}
    return {"t": t, "kind": "event", "worker": "w", "node": "n1", **said}


def container(begin: float, end: float | None, **about: Any) -> list[Entry]:
    """A container's life as runtime and kernel tell it."""
    what = ABOUT | about
    calls = [("create", begin - 0.2), ("created", begin - 0.1), ("start", begin), ("started", begin + 0.1)]
    found: list[Entry] = [{"t": t, "kind": "runtime", "verb": verb, **what} for verb, t in calls]
    if end is not None:
        found += [{"t": end, "kind": "exit", **what}, {"t": end + 0.1, "kind": "runtime", "verb": "delete", **what}]
    return found


def program(begin: float, end: float, attempt: int = 1, code: int = 0, nonce: str = "a", lines: int = 3) -> list[Entry]:
    """What a program tells the witness."""
    same = {"kind": "witness", "job": "j", "attempt": attempt, "nonce": nonce}
    return [
        {"t": begin, "what": "start", "code": 0, "lines": 0, **same},
        {"t": end, "what": "end", "code": code, "lines": lines, **same},
    ]


def told(kind: str, **fields: Any) -> Entry:
    """The outcome as one of those that tell it."""
    said = {"state": "completed", "cause": "ok", "exit_code": 0, "attempt": 1, "artifact": "f" * 64, "evidence": "it"}
    return {"t": 9.0, "kind": kind, "job": "j", **said, **fields}


def sound() -> list[Entry]:
    """One job that was accepted, ran and completed."""
    order = {"what": "quick", "lines": 3, "code": 0, "timeout": 60.0, "retries": 0, "cancel": False}
    items = [["o", 1, 1, 3], ["e", 1, 1, 3]]
    ended = {"task_id": "j", "attempt": 1, "state": "completed", "cause": "ok", "exit_code": 0}
    return [
        {"t": 0.0, "kind": "campaign", "millicores": 1000, "memory": 200, "slots": 2},
        {"t": 0.0, "kind": "submit", "job": "j", **order},
        {"t": 0.1, "kind": "ack", "job": "j", "created": True, "state": "waiting"},
        event(0.1, 1, "waiting", 0),
        event(0.2, 2, "admitted"),
        event(0.3, 3, "preparing"),
        *container(1.0, 5.0),
        *program(1.0, 4.9),
        event(1.1, 4, "running"),
        event(5.1, 5, "collecting"),
        event(5.2, 6, "completed", cause="ok"),
        told("outcome"),
        told("record"),
        told("final"),
        {"t": 9.1, "kind": "log", "job": "j", "source": "stream", "items": items, "wrong": []},
        {"t": 9.1, "kind": "log", "job": "j", "source": "artifact", "items": items, "told": ended, **KEPT},
        told("history"),
        {"t": 9.2, "kind": "clean", "after": 0.0, "left": 0},
    ]


def rules(entries: list[Entry]) -> set[str]:
    return {violation.rule for violation in check(sorted(entries, key=lambda entry: float(entry["t"])))}


def without(kind: str, **given: Any) -> list[Entry]:
    """The sound journal less some entries."""
    return [entry for entry in sound() if entry["kind"] != kind or any(entry.get(k) != v for k, v in given.items())]


def altered(kind: str, change: Callable[[Entry], Entry], **given: Any) -> list[Entry]:
    """The sound journal with some entries changed."""
    return [
        change(entry) if entry["kind"] == kind and all(entry.get(k) == v for k, v in given.items()) else entry
        for entry in sound()
    ]


SECOND = [
    event(5.2, 6, "waiting", cause="engine"),
    event(5.3, 7, "admitted", 2),
    event(5.4, 8, "preparing", 2),
    event(6.1, 9, "running", 2),
    event(7.1, 10, "collecting", 2),
    event(7.2, 11, "completed", 2, cause="ok"),
]
FIRST = [entry for entry in without("event") if entry["kind"] != "witness"]
#: its only attempt came back to the line at 4.0, and the job ended there
BEFORE = [e for e in sound() if e.get("id") not in ("5-0", "6-0")]


def in_line(cause: str, end: str, state: str = "completed", **record: Any) -> list[Entry]:
    """An attempt that was fenced off for `cause`, and an end of the job while it waited."""
    told_so = {"state": state, "cause": end, **record}
    return [
        *(e if e["kind"] not in ("record", "outcome", "final", "history") else e | told_so for e in BEFORE),
        event(4.0, 5, "waiting", cause=cause),
        event(5.2, 6, state, cause=end),
    ]


#: an attempt's log of three lines on both streams
LINES = {1: [["o", 1, 1, 3], ["e", 1, 1, 3]], 2: [["o", 2, 1, 3], ["e", 2, 1, 3]]}


def retried(items: list[Any], printed: int) -> list[Entry]:
    """A job whose first attempt printed so many lines and exited 5, and whose second ended well, with that log."""
    second = {"attempt": 2}
    found: list[Entry] = []
    for e in without("event"):
        if e["kind"] == "witness":
            e = e | ({"code": 5, "lines": printed} if e["what"] == "end" else {})
        elif e["kind"] in ("record", "outcome", "final", "history"):
            e = e | second
        elif e["kind"] == "submit":
            e = e | {"retries": 1}
        elif e["kind"] == "log":
            told_so = {"told": e["told"] | second, "result": "result 2 3\n"} if e["source"] == "artifact" else {}
            e = e | {"items": items if e["source"] == "stream" else LINES[2]} | told_so
        found.append(e)
    events = [e for e in sound() if e["kind"] == "event" and e["id"] != "6-0"]
    back = [event(5.2, 6, "waiting", cause="exit"), *SECOND[1:]]
    there = [*container(6.0, 7.0, container="c2", attempt=2), *program(6.0, 6.9, attempt=2, nonce="b")]
    return [*found, *events, *back, *there]


def overdue(kind: str, seconds: float) -> list[Entry]:
    """A job that ran on for so long after its timeout, or after its stop was accepted."""
    longer = [e | {"t": e["t"] + seconds} if e["t"] > 4.0 else e for e in sound()]
    if kind == "timeout":
        return [e | {"timeout": 4.0} if e["kind"] == "submit" else e for e in longer]
    stop: Entry = {"t": 4.0, "kind": "cancel answer", "job": "j", "accepted": True, "state": "running"}
    return [*longer, stop]


def fault(name: str, begin: float, end: float, **about: Any) -> list[Entry]:
    """A fault as the nemesis notes it."""
    same: Entry = {"kind": "fault", "name": name, "target": "n1", "way": "", **about}
    return [{"t": begin, "what": "begin", **same}, {"t": end, "what": "end", "began": begin, **same}]


ARTIFACT = {"source": "artifact"}
GONE = {"items": [], "missing": "job j ended without an artifact"}
