"""The ear on Redis' channels: who waits for an arrival, a release, a stop or a change is told, not polled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis

from hivemind_worker.store.connection import named_faults, text


@dataclass(frozen=True, slots=True)
class Word:
    """One message: the channel it came on and what it says."""

    channel: str
    data: str


class Ear:
    """One subscription. Owned by one thread; `close` may be called from another."""

    def __init__(self, client: redis.Redis, channels: Sequence[str] = (), patterns: Sequence[str] = ()) -> None:
        self._pubsub: Any = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
        self._channels, self._patterns = tuple(channels), tuple(patterns)
        self._open = False

    def listen(self, timeout: float) -> Word | None:
        """The next word within `timeout` seconds, else None. Raises StoreUnavailable; the next call reconnects."""
        with named_faults():
            if not self._open:
                if self._channels:
                    self._pubsub.subscribe(*self._channels)
                if self._patterns:
                    self._pubsub.psubscribe(*self._patterns)
                self._open = True
            message = self._pubsub.get_message(timeout=timeout)
        if message is None:
            return None
        return Word(text(message["channel"]), text(message["data"]))

    def close(self) -> None:
        """Give the connection back."""
        self._pubsub.close()
