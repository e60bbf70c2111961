"""How long recovery took: from a worker's death to its next deed, and what that added to the jobs it ran. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.chaos.journal import Entry
from tests.chaos.story import TERMINAL, lives

#: deeds that only the worker that holds an attempt can do
DEEDS = ("preparing", "running", "collecting", *TERMINAL)
#: faults during which a worker cannot come back, whatever it does
HINDRANCES = (
    "kill redis", "pause redis", "cut", "cut long", "kill engine", "stop engine", "freeze engine", "kill all",
    "kill up", "upgrade", "freeze worker", "disk full",
)  # fmt: skip
#: seconds after a kill in which another fault spoils the measurement
WATCHED = 8.0


def recovery(entries: list[Entry]) -> dict[str, dict[str, Any]]:
    """Figures in seconds."""
    again = consuming_again(entries)
    added, plain = delays(entries)
    stops = [entry["took"] for entry in entries if entry["kind"] == "fault" and entry.get("took") is not None]
    return {
        "consuming again after kill -9 of the worker, s": summary(again),
        "container's end to recorded outcome, undisturbed, s": summary(plain),
        "the same where the worker was killed and back while it ran, s": summary(added),
        "orderly stop, s": summary(stops),
    }


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Count and percentiles."""
    if not values:
        return {"n": 0}
    ordered = sorted(values)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)

    return {"n": len(ordered), "p50": at(0.5), "p95": at(0.95), "max": round(ordered[-1], 2)}


def _spoilt(entries: list[Entry]) -> list[tuple[float, float]]:
    """Times in which some other fault lasted."""
    begins = [e for e in entries if e["kind"] == "fault" and e["what"] == "begin" and e["name"] in HINDRANCES]
    ends = {(e["name"], e["began"]): e["t"] for e in entries if e["kind"] == "fault" and e.get("began") is not None}
    freezes = [(e["t"], e["t"] + 25.0) for e in entries if e["kind"] == "point" and e["action"] == "freeze"]
    return freezes + [(e["t"], ends.get((e["name"], e["t"]), e["t"] + 30.0)) for e in begins]


def consuming_again(entries: list[Entry]) -> list[float]:
    """From each kill -9 of a worker to the next deed of a worker of that name; where nothing else hindered it."""
    spoilt = _spoilt(entries)
    kills = [entry for entry in entries if entry["kind"] == "kill" and "@" in entry["process"]]
    deeds = [entry for entry in entries if entry["kind"] == "event" and entry["state"] in DEEDS]
    found = []
    for kill in kills:
        t, name = kill["t"], kill["process"]
        if any(begin < t + WATCHED and end > t - 1.0 for begin, end in spoilt):
            continue
        if any(other is not kill and other["process"] == name and t <= other["t"] < t + WATCHED for other in kills):
            continue
        again = next((deed["t"] for deed in deeds if deed["worker"] == name and deed["t"] > t + 0.2), None)
        if again is not None:
            found.append(again - t)
    return found


def delays(entries: list[Entry]) -> tuple[list[float], list[float]]:
    """From a container's end to its recorded one: for those whose worker was killed and back, and for the rest."""
    spoilt = _spoilt(entries)
    kills = [entry for entry in entries if entry["kind"] == "kill" and "@" in entry["process"]]
    deeds = [entry for entry in entries if entry["kind"] == "event" and entry["state"] in DEEDS]
    ended = {(e["job"], e["attempt"]): e for e in entries if e["kind"] == "event" and e["state"] in TERMINAL}
    disturbed: list[float] = []
    plain: list[float] = []
    for life in lives(entries):
        end = ended.get((life.job, life.attempt))
        if end is None or life.ended is None:
            continue
        if any(begin < end["t"] and finish > life.started for begin, finish in spoilt):
            continue
        mine = [kill for kill in kills if kill["process"] == end["worker"] and life.started < kill["t"] < end["t"]]
        if not mine:
            plain.append(end["t"] - life.ended)
        elif len(mine) == 1:
            back = next((d["t"] for d in deeds if d["worker"] == end["worker"] and d["t"] > mine[0]["t"] + 0.2), None)
            if back is not None and back < life.ended:
                disturbed.append(end["t"] - life.ended)
    return disturbed, plain
