"""How long recovery took: from a worker's death to its next deed, and what that added to the jobs it ran. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.chaos.faults import AFTER, spoilt
from tests.chaos.journal import Entry
from tests.chaos.stack import WORKERS
from tests.chaos.story import TERMINAL, lives

#: deeds that only the worker that holds an attempt can do
DEEDS = ("preparing", "running", "collecting", *TERMINAL)
#: seconds after a kill in which another fault spoils the measurement
WATCHED = 8.0


def recovery(entries: list[Entry]) -> dict[str, dict[str, Any]]:
    """Figures in seconds."""
    again = consuming_again(entries)
    added, plain = delays(entries)
    return {
        "consuming again after kill -9 of the worker, s": summary(again),
        "container's end to recorded outcome, undisturbed, s": summary(plain),
        "the same where the worker was killed and back while it ran, s": summary(added),
        "orderly stop, s": summary(orderly_stops(entries)),
    }


def orderly_stops(entries: list[Entry]) -> list[float]:
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
    return [
        entry["took"]
        for entry in entries
        if entry["kind"] == "fault" and entry.get("took") is not None
        if not any(who == entry["target"] and begin < entry["t"] and end > entry["began"] for who, begin, end in frozen)
    ]


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Count and percentiles."""
    if not values:
        return {"n": 0}
    ordered = sorted(values)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)

    return {"n": len(ordered), "p50": at(0.5), "p95": at(0.95), "max": round(ordered[-1], 2)}


def consuming_again(entries: list[Entry]) -> list[float]:
    """From each kill -9 of a worker to the next deed of a worker of that name; where nothing else hindered it."""
    found = []
    for name in WORKERS.values():
        hindered = spoilt(entries, name)
        kills = [entry["t"] for entry in entries if entry["kind"] == "kill" and entry["process"] == name]
        deeds = [e["t"] for e in entries if e["kind"] == "event" and e["state"] in DEEDS and e["worker"] == name]
        for t in kills:
            again = next((deed for deed in deeds if deed > t + 0.2), None)
            until = again or t + WATCHED
            if any(begin < until and end > t - AFTER for begin, end in hindered) or any(t < o < until for o in kills):
                continue
            if again is not None:
                found.append(again - t)
    return found


def delays(entries: list[Entry]) -> tuple[list[float], list[float]]:
    """From a container's end to its recorded one: for those whose worker was killed and back, and for the rest."""
    ended = {(e["job"], e["attempt"]): e for e in entries if e["kind"] == "event" and e["state"] in TERMINAL}
    disturbed: list[float] = []
    plain: list[float] = []
    known = {name: spoilt(entries, name) for name in WORKERS.values()}
    kills = {name: [e["t"] for e in entries if e["kind"] == "kill" and e["process"] == name] for name in known}
    deeds = {
        name: [e["t"] for e in entries if e["kind"] == "event" and e["state"] in DEEDS and e["worker"] == name]
        for name in known
    }
    for life in lives(entries):
        end = ended.get((life.job, life.attempt))
        if end is None or life.ended is None or end["worker"] not in known:
            continue
        worker = end["worker"]
        if any(begin < end["t"] and finish > life.started for begin, finish in known[worker]):
            continue
        mine = [t for t in kills[worker] if life.started < t < end["t"]]
        back = [next((deed for deed in deeds[worker] if deed > t + 0.2), end["t"]) for t in mine]
        if not mine:
            plain.append(end["t"] - life.ended)
        elif max(back) < life.ended:
            disturbed.append(end["t"] - life.ended)
    return disturbed, plain
