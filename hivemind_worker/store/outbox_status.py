"""How a group of the events fares, for /health and /metrics: read by anybody, changed by nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from hivemind_worker.store.connection import fields, named_faults, text
from hivemind_worker.store.events import order
from hivemind_worker.store.keys import Keys

#: events counted at most where the server does not know how many are left (Redis before 7)
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """One group. `lag_entries` are events not settled yet, `lag_seconds` the age of the oldest of them."""

    group: str
    led: bool
    lag_entries: int
    lag_seconds: float
    delivered: int
    refused: int
    gaps: int
    #: epoch milliseconds by Redis' clock; 0: nothing yet
    delivered_at: int
    resyncing: bool
    #: what keeps the leader from its work, in a sentence; '' when nothing does
    trouble: str
    #: seconds for which the leader has waited for an answer, as far as it says; 0: it does not wait
    asked_seconds: float = 0.0

    @property
    def delivered_seconds(self) -> float:
        """`delivered_at` in seconds, as Prometheus wants times."""
        return self.delivered_at / 1000


def read_status(client: redis.Redis, keys: Keys, group: str) -> OutboxStatus:
    """One group as it stands; a group that was never led has nothing behind it. Raises StoreUnavailable."""
    reader: Any = client
    with named_faults():
        pipe = reader.pipeline(transaction=False)
        pipe.hgetall(keys.outbox(group)).exists(keys.outbox_lead(group)).exists(keys.events).time()
        noted_raw, led, there, (seconds, micros) = pipe.execute()
        noted = fields(noted_raw)
        entries, oldest = _behind(reader, keys.events, group) if there else (0, 0)
    now = seconds * 1000 + micros // 1000
    return OutboxStatus(
        group=group,
        led=bool(led),
        lag_entries=entries,
        lag_seconds=max(0, now - oldest) / 1000 if entries else 0.0,
        delivered=int(noted.get("delivered", 0)),
        refused=int(noted.get("refused", 0)),
        gaps=int(noted.get("gaps", 0)),
        delivered_at=int(noted.get("delivered_at", 0)),
        resyncing="resync" in noted,
        trouble=noted.get("trouble", ""),
        asked_seconds=max(0, now - int(noted["asked"])) / 1000 if "asked" in noted else 0.0,
    )


def _behind(reader: Any, events: str, group: str) -> tuple[int, int]:
    """Events that are not settled, and when the oldest of them was, in epoch milliseconds."""
    found = next((one for one in reader.xinfo_groups(events) if text(one["name"]) == group), None)
    if found is None:
        return 0, 0
    at, left = text(found["last-delivered-id"]), found.get("lag")
    new = reader.xrange(events, f"({at}", "+", count=1)
    if left is None:
        left = len(reader.xrange(events, f"({at}", "+", count=MOST_COUNTED)) if new else 0
    taken = reader.xpending(events, group)["min"]  # None: they were settled in between
    ids = [text(entry[0]) for entry in new] + ([text(taken)] if taken else [])
    oldest = min((order(one)[0] for one in ids), default=0)
    return int(left) + int(found["pending"]), oldest
