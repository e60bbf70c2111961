"""Who watches: the clients of the live streams, served from one feed. Belongs to the event loop's thread."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hivemind_worker.monitor.errors import TooManyWatchers

MAX_WATCHERS = 256
#: batches that may lie ready for one client; one that lags further is dropped and resumes by its last event id
BACKLOG = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """What one turn of the feed has for all: frames of state changes with their ids, then other frames."""

    states: tuple[tuple[str, bytes], ...] = ()
    frames: bytes = b""


class Watcher:
    """One client of the event stream. `dropped` is set when it lags too far or the hub closes for good."""

    def __init__(self, since: str) -> None:
        #: the newest event before it came, '' if unknown: a feed that starts for it starts there
        self.since = since
        self.dropped = asyncio.Event()
        self.closed = False
        self._batches: deque[Batch] = deque()
        self._news = asyncio.Event()

    def offer(self, batch: Batch) -> None:
        """Hand over without waiting."""
        if len(self._batches) >= BACKLOG:
            self._batches.clear()
            self.dropped.set()
            return
        self._batches.append(batch)
        self._news.set()

    def close(self) -> None:
        """End the stream in order once what lies ready is sent."""
        self.closed = True
        self._news.set()

    async def next(self, seconds: float) -> Batch | None:
        """The next batch; None after that many seconds of silence, or at once when closed."""
        if not self._batches and not self.closed:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), seconds)
            except TimeoutError:
                return None
        return self._batches.popleft() if self._batches else None


class Follower:
    """One client that follows one job's log. Words that come in while it reads are remembered, not queued."""

    def __init__(self) -> None:
        self.dropped = asyncio.Event()
        self.closed = False
        self._news = asyncio.Event()

    def touch(self) -> None:
        """Something about the job changed."""
        self._news.set()

    def close(self) -> None:
        """End the stream in order."""
        self.closed = True
        self._news.set()

    async def wait(self, seconds: float) -> bool:
        """Whether something changed within so many seconds, or before this call."""
        try:
            await asyncio.wait_for(self._news.wait(), seconds)
        except TimeoutError:
            return False
        self._news.clear()
        return True


class Hub:
    """All watchers. `on_watched` is called when the first one comes."""

    def __init__(self, on_watched: Callable[[], None]) -> None:
        self._on_watched = on_watched
        self._watchers: set[Watcher] = set()
        self._followers: dict[str, set[Follower]] = {}
        self._closed = False
        #: the last frame of each kind that a newcomer should see at once
        self.greeting: dict[str, bytes] = {}

    @property
    def watched(self) -> bool:
        """Whether anybody watches. Read from the feed's thread too."""
        return bool(self._watchers or self._followers)

    def since(self) -> list[str]:
        """The events before which the watchers came. Read from the feed's thread too."""
        return [watcher.since for watcher in tuple(self._watchers) if watcher.since]

    def follows(self, task_id: str) -> bool:
        """Whether anybody follows this job's log. Read from the feed's thread too."""
        return task_id in self._followers

    def deliver(self, batch: Batch) -> None:
        """Give a batch to every watcher."""
        for watcher in self._watchers:
            watcher.offer(batch)

    def touch(self, task_id: str | None) -> None:
        """Wake the followers of one job, or of all (None)."""
        groups = self._followers.values() if task_id is None else [self._followers.get(task_id, set())]
        for group in groups:
            for follower in group:
                follower.touch()

    @contextmanager
    def watch(self, since: str = "") -> Iterator[Watcher]:
        """Take part in the event stream, from an event on that was the newest a moment ago."""
        self._admit()
        watcher = Watcher(since)
        self._watchers.add(watcher)
        self._on_watched()
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    @contextmanager
    def follow(self, task_id: str) -> Iterator[Follower]:
        """Be woken for one job."""
        self._admit()
        follower = Follower()
        self._followers.setdefault(task_id, set()).add(follower)
        self._on_watched()
        try:
            yield follower
        finally:
            group = self._followers[task_id]
            group.discard(follower)
            if not group:
                del self._followers[task_id]

    def close(self) -> None:
        """End every stream in order and take no more."""
        self._closed = True
        for watcher in self._watchers:
            watcher.close()
        for group in self._followers.values():
            for follower in group:
                follower.close()

    def _admit(self) -> None:
        if self._closed:
            raise TooManyWatchers("the monitor is stopping")
        if len(self._watchers) + sum(map(len, self._followers.values())) >= MAX_WATCHERS:
            raise TooManyWatchers(f"{MAX_WATCHERS} clients watch already; close some")
