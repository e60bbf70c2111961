"""One job's part of a journal, sorted: what was asked, what was seen of its containers, what the site said. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from tests.chaos.faults import Span, disk_full, on_node
from tests.chaos.journal import Entry

#: where containers run
NODES = ("n1", "n2")
TERMINAL = ("completed", "failed", "stopped")


@dataclass(frozen=True)
class Violation:
    """One promise that was not kept. `job` may be empty."""

    rule: str
    job: str
    words: str


@dataclass(frozen=True)
class Life:
    """One container as kernel and runtime saw it. `ended` None: nobody saw its end."""

    container: str
    job: str
    attempt: int
    node: str
    millicores: int
    memory: int
    started: float
    ended: float | None
    starts: int


@dataclass
class Story:
    """Entries of one job, by time."""

    job: str
    entries: list[Entry]
    lives: list[Life] = field(default_factory=list)
    #: when the engine was killed or told to stop
    engine_ends: list[float] = field(default_factory=list)
    #: when workers of a node were kept from their work, and when its disk was full
    hindered: dict[str, list[Span]] = field(default_factory=dict)
    full: dict[str, list[Span]] = field(default_factory=dict)

    def of(self, kind: str, **given: Any) -> list[Entry]:
        """Entries of a kind with these fields."""
        return [one for one in self.entries if one["kind"] == kind and all(one.get(k) == v for k, v in given.items())]

    def first(self, kind: str, **given: Any) -> Entry:
        """The first such entry, or an empty one."""
        return next(iter(self.of(kind, **given)), {})

    @cached_property
    def order(self) -> Entry:
        """What was asked for."""
        return self.first("submit")

    @cached_property
    def acknowledged(self) -> bool:
        """Whether the bridge said yes."""
        return bool(self.of("ack"))

    @cached_property
    def events(self) -> list[Entry]:
        """State changes in the stream's own order."""
        return sorted(self.of("event"), key=lambda one: tuple(int(part) for part in one["id"].split("-")))

    @cached_property
    def record(self) -> Entry:
        """Its record at rest, as it lies in Redis."""
        return self.first("record")

    @cached_property
    def last_life(self) -> Life | None:
        """The container of the attempt that was accepted."""
        mine = [life for life in self.lives if life.attempt == self.record.get("attempt")]
        return mine[-1] if mine else None

    @property
    def engine_ends_met(self) -> int:
        """How often the engine ended between the start of the job's first container and the word of its outcome."""
        began = min((life.started for life in self.lives), default=None)
        told = self.first("outcome").get("t", float("inf"))
        return 0 if began is None else sum(1 for t in self.engine_ends if began - 1 <= t <= told)

    def ends(self, attempt: int) -> list[Entry]:
        """What the program told the witness at its end."""
        return self.of("witness", what="end", attempt=attempt)


def stories(entries: Iterable[Entry]) -> dict[str, Story]:
    """A story for each job that was ever named."""
    entries = list(entries)
    found: dict[str, Story] = {}
    for entry in entries:
        job = entry.get("job")
        if job:
            found.setdefault(str(job), Story(str(job), [])).entries.append(entry)
    for life in lives(entries):
        found.setdefault(life.job, Story(life.job, [])).lives.append(life)
    ends = [entry["t"] for entry in entries if _ends_engine(entry)]
    hindered = {node: on_node(entries, node) for node in NODES}
    full = {node: disk_full(entries, node) for node in NODES}
    for story in found.values():
        story.engine_ends, story.hindered, story.full = ends, hindered, full
    return found


def _ends_engine(entry: Entry) -> bool:
    if entry["kind"] == "fault":
        return bool(entry["name"] == "stop engine" and entry["what"] == "begin")
    return bool(entry["kind"] == "kill" and entry.get("process") == "engine")


def lives(entries: Iterable[Entry]) -> list[Life]:
    """Every container of a job that was started, by its start.

    It begins when the runtime is asked to start it. It ends when the kernel says that its first process is gone, or
    when the runtime has taken away what it had of it, which it does of nothing that lives: the earlier of the two.
    """
    seen: dict[str, dict[str, list[float]]] = {}
    facts: dict[str, Entry] = {}
    told: dict[tuple[str, int], float] = {}
    for entry in entries:
        if entry["kind"] == "witness" and entry["what"] == "end":
            told[entry["job"], entry["attempt"]] = entry["t"]
        if entry["kind"] not in ("runtime", "exit") or "job" not in entry:
            continue
        what = "exit" if entry["kind"] == "exit" else entry["verb"]
        seen.setdefault(entry["container"], {}).setdefault(what, []).append(entry["t"])
        facts[entry["container"]] = entry
    found = []
    for container, times in seen.items():
        about = facts[container]
        # A start of which neither success nor refusal is known (its caller was killed) counts once it is seen to run.
        starts = len(times.get("started", ()))
        began = times.get("start", [])
        ends = [*times.get("exit", ()), *times.get("delete", ())]
        ran = starts or (began and not times.get("unstarted") and (about["job"], about["attempt"]) in told)
        if not began or not ran:
            continue
        found.append(
            Life(
                container,
                about["job"],
                about["attempt"],
                about.get("node", ""),
                about["millicores"],
                about["memory"],
                began[0],
                min(ends) if ends else None,
                max(1, starts),
            )
        )
    return sorted(found, key=lambda life: life.started)
