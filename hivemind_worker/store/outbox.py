"""The events as somebody's outbox: one leader at a time reads them in order, and settles each once it is done with it.

A *group* follows the events for one purpose, such as the reports to the master. Its leader is the process that holds
the lead; every step names the leader's *term*, and a step of a term that is over changes nothing. Events that were
taken and not settled are taken again by the next leader, so nothing is lost and something may come twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import redis

from hivemind_worker.domain.errors import HiveMindError
from hivemind_worker.store.connection import Scripts, Words, fields, named_faults, text
from hivemind_worker.store.events import Event, event_of
from hivemind_worker.store.keys import Keys

#: the group that reports to the master
REPORTS = "reports"


def history_group(url: str, node_id: str) -> str:
    """The group that writes a history. A file is one node's own; a server is the whole site's."""
    return f"history:{node_id}" if url.startswith("sqlite") else "history"


class TermOver(HiveMindError):
    """Another process leads this group of the events now, or nobody does: the term was not prolonged in time."""

    code = "term_over"


@dataclass(frozen=True, slots=True)
class Resync:
    """Events after `since` were trimmed unread: records that changed since then stand in for them.

    `place` is how far the walk over the records has come, in the walker's own words. `gap` counts the gaps: a walk that
    is under way is told a newer one by it, and begins anew.
    """

    since: str
    place: str
    gap: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What one read gave: events, ids of entries that were trimmed after they had been taken, a resync to do first."""

    events: tuple[Event, ...]
    gone: tuple[str, ...]
    resync: Resync | None


class Outbox:
    """One group's way into the events. Threads may share it. Every call may raise StoreUnavailable."""

    def __init__(
        self,
        client: redis.Redis,
        keys: Keys,
        group: str,
        *,
        who: str,
        place: str,
        term: float,
        whole: bool,
    ) -> None:
        """`who` is this process, `place` where it runs: it replaces its own predecessor at once. `term` in seconds.

        `whole`: a group that did not exist has everything on record to look through, not only what the stream holds.
        """
        self._redis: Any = client
        self._scripts = Scripts(client)
        self._keys = keys
        self.group = group
        self._who = who
        self._place = place
        self._term_ms = int(term * 1000)
        self._whole = int(whole)

    def lead(self, *, replace: bool) -> Term | None:
        """A term as the group's leader; None while another leads. `replace`: not if it leads from this very place."""
        keys = [self._keys.outbox_lead(self.group), self._keys.outbox(self.group), self._keys.events]
        place = self._place if replace else ""
        number = int(self._scripts.run("outbox_lead", keys, [self._who, self._term_ms, place, self.group, self._whole]))
        return Term(self._scripts, self._keys, self.group, number, self._term_ms, self._whole) if number else None

    def led(self) -> bool:
        """Whether anybody leads now."""
        with named_faults():
            return bool(self._redis.exists(self._keys.outbox_lead(self.group)))


class Term:
    """One leader's time. Every call prolongs it, and raises TermOver when it has ended, StoreUnavailable."""

    def __init__(self, scripts: Scripts, keys: Keys, group: str, number: int, milliseconds: int, whole: int) -> None:
        self._scripts = scripts
        self._keys = keys
        self._group = group
        self.number = number
        self._ms = milliseconds
        self._whole = whole

    def take(self, most: int, *, after: str = ">") -> Taken:
        """Read on: unsettled events after the id `after`, or new ones."""
        keys = self._keys
        reply = self._run(
            "outbox_take",
            [keys.outbox_lead(self._group), keys.outbox(self._group), keys.events],
            [self._group, most, after, self._whole],
        )
        if text(reply[0]) == "fenced":
            raise TermOver
        entries = [(text(i), body) for i, body in reply[1]]
        noted = json.loads(text(reply[2])) if reply[2] else None
        return Taken(
            events=tuple(event_of(i, fields(body)) for i, body in entries if body),
            gone=tuple(i for i, body in entries if not body),
            resync=Resync(noted["since"], noted["place"], noted.get("gap", 0)) if noted else None,
        )

    def settle(self, delivered: Sequence[str] = (), aside: Mapping[str, str] | None = None) -> None:
        """Be done with events: ids that were delivered, and ids that are set aside with the reason."""
        keys = self._keys
        refused: list[str] = []
        for event_id, why in (aside or {}).items():
            refused += [event_id, why[:2000].encode("utf-8", "replace").decode()]
        self._fenced(
            "outbox_settle",
            [
                keys.outbox_lead(self._group),
                keys.outbox(self._group),
                keys.events,
                keys.set_aside(self._group),
            ],
            [self._group, len(delivered), *delivered, *refused],
        )

    def note(self, **noted: str) -> None:
        """Write down how the group fares; '' takes a field away. With nothing to note it only prolongs the term."""
        words = [word for pair in noted.items() for word in pair]
        self._fenced("outbox_note", [self._keys.outbox_lead(self._group), self._keys.outbox(self._group)], words)

    def walked(self, resync: Resync, place: str | None) -> Resync | None:
        """How far the walk has come; None: it is done."""
        if place is None:
            self.note(resync="")
            return None
        self.note(resync=json.dumps({"since": resync.since, "place": place, "gap": resync.gap}))
        return Resync(resync.since, place, resync.gap)

    def leave(self) -> None:
        """Give the lead back."""
        self._scripts.run("outbox_leave", [self._keys.outbox_lead(self._group)], [self.number])

    def _run(self, name: str, keys: Words, args: Words) -> Any:
        return self._scripts.run(name, keys, [self.number, self._ms, *args])

    def _fenced(self, name: str, keys: Words, args: Words) -> None:
        if not self._run(name, keys, args):
            raise TermOver
