"""What the nemesis did, as times in which a worker, or any worker of a node, was kept from its work. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.chaos.journal import Entry
from tests.chaos.stack import WORKERS

#: from when to when
Span = tuple[float, float]

#: faults during which no worker can do its work, whatever it does
EVERYBODY = ("kill redis", "pause redis", "kill engine", "stop engine", "freeze engine", "kill all")
#: those that strike a whole node, and those that strike one worker
NODE, WORKER = ("cut long", "disk full"), ("cut", "freeze worker", "stop worker", "hold worker")
#: seconds that a fault lasts at most of which no end is known
AT_MOST = 30.0
#: … and a process that is frozen at a point
FROZEN = 25.0
#: seconds that a fault which is over still weighs on a worker: starts, leases, back-offs
AFTER = 5.0


def spoilt(entries: Iterable[Entry], worker: str) -> list[Span]:
    """Times in which something other than a kill -9 kept a worker from its work."""
    entries = list(entries)
    found = spans(entries, lambda fault: _hinders(fault, worker))
    return found + [
        (entry["t"], entry["t"] + FROZEN)
        for entry in entries
        if entry["kind"] == "point" and entry["action"] != "kill" and entry["process"] in (worker, "bridge")
    ]


def spans(entries: Iterable[Entry], which: Callable[[Entry], bool]) -> list[Span]:
    """From when to when each fault lasted that is meant."""
    faults = [entry for entry in entries if entry["kind"] == "fault"]
    ends = {(e["name"], e["began"]): e["t"] for e in faults if e.get("began") is not None}
    begun = [entry for entry in faults if entry["what"] == "begin" and which(entry)]
    return [(e["t"], ends.get((e["name"], e["t"]), e["t"] + AT_MOST)) for e in begun]


def node_of(target: str) -> str:
    """The node that a fault on this target strikes."""
    return "n2" if target == "n2" else "n1"


def on_node(entries: Iterable[Entry], node: str) -> list[Span]:
    """Times in which some worker of a node was kept from its work, its kills among them, each with what follows."""
    entries = list(entries)
    found = [one for worker in WORKERS.values() if _home(worker) == node for one in spoilt(entries, worker)]
    found += [
        (entry["t"], entry["t"])
        for entry in entries
        if entry["kind"] == "kill" and (entry["process"] == "up" or _home(entry["process"]) == node)
    ]
    return [(begin, end + AFTER) for begin, end in found]


def disk_full(entries: Iterable[Entry], node: str) -> list[Span]:
    """Times in which the file system of a node's workspaces was full."""
    return spans(entries, lambda fault: fault["name"] == "disk full" and node_of(fault["target"]) == node)


def apart_from(times: Iterable[Span], begin: float, end: float) -> float:
    """How many seconds between `begin` and `end` lie in none of these times."""
    left, reached = 0.0, begin
    for first, last in sorted(times):
        if first >= end:
            break
        left += max(0.0, first - reached)
        reached = max(reached, last)
    return left + max(0.0, end - reached)


def _home(worker: str) -> str:
    return worker.partition("@")[2]


def _hinders(fault: Entry, worker: str) -> bool:
    name = fault["name"]
    if name in EVERYBODY or (name in ("kill up", "upgrade") and worker == WORKERS["n1"]):
        return True
    if name in NODE:
        return node_of(fault["target"]) == _home(worker)
    return name in WORKER and WORKERS[fault["target"]] == worker
