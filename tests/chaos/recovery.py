"""How long recovery took: from a worker's death to its next deed, and what that added to the jobs it ran. Pure.

Where something else lay across it the product's own time cannot be told from the other's: that is left out of the
figures, and how many were is said beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.faults import AFTER, spoilt
from tests.chaos.journal import Entry
from tests.chaos.stack import WORKERS
from tests.chaos.story import TERMINAL, lives

#: deeds that only the worker that holds an attempt can do
DEEDS = ("preparing", "running", "collecting", *TERMINAL)
#: seconds after a kill in which another fault spoils the measurement
WATCHED = 8.0
#: why something is left out
ACROSS, AGAIN = "another fault lay across it", "killed again before"
NEVER, IDLE = "no deed of it until the campaign's end", "no deed of it, and the load was over within 8 s"
LATER, FROZEN, STAYED = "it was back only after the end", "it was frozen", "still there when the patience was over"


@dataclass
class Measured:
    """Seconds that were measured, and why others were not."""

    values: list[float] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def summary(self) -> dict[str, Any]:
        """Count and percentiles, and how many were left out for which reason."""
        left = {f"left out ({why})": many for why, many in sorted(self.left_out.items())}
        return summary(self.values) | left


def recovery(entries: list[Entry]) -> dict[str, dict[str, Any]]:
    """Figures in seconds."""
    added, plain = delays(entries)
    return {
        "consuming again after kill -9 of the worker, s": consuming_again(entries).summary(),
        "the same, whatever else lay across it, s": consuming_again(entries, whatever=True).summary(),
        "container's end to recorded outcome, undisturbed, s": plain.summary(),
        "the same where the worker was killed and back while it ran, s": added.summary(),
        "orderly stop, s": orderly_stops(entries).summary(),
    }


def orderly_stops(entries: list[Entry]) -> Measured:
    """How long workers and supervisors took to leave when asked; those that a freeze kept from hearing it left out."""
    frozen = [
        (entry["target"], entry["began"], entry["t"])
        for entry in entries
        if entry["kind"] == "fault" and entry["name"] == "freeze worker" and entry["what"] == "end"
    ] + [
        (target, entry["t"], entry["t"] + 25.0)
        for entry in entries
        if entry["kind"] == "point" and entry["action"] == "freeze"
        for target, worker in WORKERS.items()
        if worker == entry["process"]
    ]
    found = Measured()
    for stop in (e for e in entries if e["kind"] == "fault" and e["what"] == "end" and e.get("asked", "took" in e)):
        if any(who == stop["target"] and begin < stop["t"] and end > stop["began"] for who, begin, end in frozen):
            found.left_out[FROZEN] += 1
        elif "took" not in stop:
            found.left_out[STAYED] += 1
        else:
            found.values.append(stop["took"])
    return found


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Count and percentiles."""
    if not values:
        return {"n": 0}
    ordered = sorted(values)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)

    return {"n": len(ordered), "p50": at(0.5), "p95": at(0.95), "max": round(ordered[-1], 2)}


def consuming_again(entries: list[Entry], *, whatever: bool = False) -> Measured:
    """From each kill -9 of a worker to the next deed of a worker of that name; where nothing else hindered it, or
    `whatever` did."""
    found = Measured()
    over = next((e["t"] for e in entries if e["kind"] == "fault" and e["name"] == "none"), float("inf"))
    for name in WORKERS.values():
        hindered = [] if whatever else spoilt(entries, name)
        kills = [entry["t"] for entry in entries if entry["kind"] == "kill" and entry["process"] == name]
        deeds = _deeds(entries, name)
        for t in kills:
            again = next((deed for deed in deeds if deed > t + 0.2), None)
            until = again or t + WATCHED
            if any(begin < until and end > t - AFTER for begin, end in hindered):
                found.left_out[ACROSS] += 1
            elif any(t < other < until for other in kills):
                found.left_out[AGAIN] += 1
            elif again is None:
                found.left_out[IDLE if over < t + WATCHED else NEVER] += 1
            else:
                found.values.append(again - t)
    return found


def _deeds(entries: list[Entry], worker: str) -> list[float]:
    return [e["t"] for e in entries if e["kind"] == "event" and e["state"] in DEEDS and e["worker"] == worker]


def delays(entries: list[Entry]) -> tuple[Measured, Measured]:
    """From a container's end to its recorded one: for those whose worker was killed and back, and for the rest."""
    ended = {(e["job"], e["attempt"]): e for e in entries if e["kind"] == "event" and e["state"] in TERMINAL}
    disturbed, plain = Measured(), Measured()
    known = {name: spoilt(entries, name) for name in WORKERS.values()}
    kills = {name: [e["t"] for e in entries if e["kind"] == "kill" and e["process"] == name] for name in known}
    deeds = {name: _deeds(entries, name) for name in known}
    for life in lives(entries):
        end = ended.get((life.job, life.attempt))
        if end is None or life.ended is None or end["worker"] not in known:
            continue
        worker, took = end["worker"], end["t"] - life.ended
        mine = [t for t in kills[worker] if life.started < t < end["t"]]
        back = [next((deed for deed in deeds[worker] if deed > t + 0.2), end["t"]) for t in mine]
        into = disturbed if mine else plain
        if any(begin < end["t"] and finish > life.started for begin, finish in known[worker]):
            into.left_out[ACROSS] += 1
        elif mine and max(back) >= life.ended:
            into.left_out[LATER] += 1
        else:
            into.values.append(took)
    return disturbed, plain
