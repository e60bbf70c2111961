"""The stream of state changes: the live feed, and the outbox to the master."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from hivemind_worker.domain.assignment import TASK_ID
from hivemind_worker.domain.job import State
from hivemind_worker.store.connection import fields, named_faults, text
from hivemind_worker.store.keys import Keys

STATES = frozenset(state.value for state in State)


@dataclass(frozen=True, slots=True)
class Event:
    """One change of state. `at` in epoch milliseconds by Redis' clock; `id` orders events."""

    id: str
    task_id: str
    state: str
    attempt: int
    cause: str
    at: int


class Events:
    """Readers of the stream. Writers are the scripts alone."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._redis: Any = client  # redis-py types every reply as a union of its sync and async ones
        self._keys = keys

    def last_id(self) -> str:
        """The id of the newest event; '0-0' when there is none."""
        with named_faults():
            newest = self._redis.xrevrange(self._keys.events, count=1)
        return text(newest[0][0]) if newest else "0-0"

    def read(self, after: str, *, block: float, count: int = 500) -> list[Event]:
        """Events after an id, waiting up to `block` seconds for the first. Raises StoreUnavailable."""
        with named_faults():
            reply = self._redis.xread({self._keys.events: after}, count=count, block=max(1, int(block * 1000)))
        return [event_of(text(i), fields(body)) for _, entries in _streams(reply) for i, body in entries]

    def recent(self, count: int) -> list[Event]:
        """The newest events, newest first."""
        with named_faults():
            entries = self._redis.xrevrange(self._keys.events, count=count)
        return [event_of(text(i), fields(body)) for i, body in entries]


def _streams(reply: object) -> list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]:
    """XREAD's reply as pairs, whichever protocol version carried it."""
    if not reply:
        return []
    if isinstance(reply, dict):  # RESP3
        return [
            (name, chunks[0] if chunks and isinstance(chunks[0], list) else chunks) for name, chunks in reply.items()
        ]
    return list(reply)  # type: ignore[call-overload,no-any-return]


def order(event_id: str) -> tuple[int, int]:
    """What event ids sort by. Raises ValueError."""
    milliseconds, _, sequence = event_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def strange(event: Event) -> str:
    """Why an event is none of ours to pass on; '' when it is. Pure."""
    if not TASK_ID.fullmatch(event.task_id):
        return f"names no job: {event.task_id[:80]!r}"
    if event.state not in STATES:
        return f"unknown state {event.state[:80]!r}"
    return ""


def event_of(event_id: str, body: dict[str, str]) -> Event:
    """An entry of the stream. What was put there by hand, or by another release, may be odd; reading it never fails."""
    return Event(
        event_id,
        body.get("id", ""),
        body.get("state", ""),
        _number(body.get("attempt", ""), 0),
        body.get("cause", ""),
        _number(body.get("at", ""), order(event_id)[0]),
    )


def _number(text_: str, otherwise: int) -> int:
    return int(text_) if text_.isascii() and text_.isdigit() and len(text_) <= 16 else otherwise
