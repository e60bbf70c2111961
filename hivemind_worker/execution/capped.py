"""A log with a cap: its first part as it comes, its last part from a ring, and a count of what lay between. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from hivemind_worker.store.logs import Stream

#: the ring keeps so many pieces at most, so that output of single bytes costs no more memory than any other
MAX_PIECES = 4096
MAX_PIECE = 32 * 1024


@dataclass(slots=True)
class Piece:
    """Bytes of one stream; `end` is where they end in that stream."""

    stream: Stream
    data: bytearray
    end: int


#: takes a piece's stream, bytes and end
Sink = Callable[[Stream, "bytes | bytearray | memoryview", int], None]


class CappedLog:
    """Gives the first `head` bytes to `sink` at once and the last ones (about `tail`) at the end."""

    def __init__(self, sink: Sink, *, cap: int, used: int = 0, on_full: Callable[[], None] | None = None) -> None:
        self._sink = sink
        self._on_full = on_full
        self._tail = cap // 8
        self._room = max(0, cap - self._tail - used)
        self._ring: deque[Piece] = deque()
        self._ring_bytes = 0
        #: bytes thrown away so far
        self.dropped = 0

    def add(self, stream: Stream, data: memoryview, end: int) -> None:
        """Take bytes that end at `end` of their stream."""
        if self._room:
            now = data[: self._room]
            self._room -= len(now)
            self._sink(stream, now, end - len(data) + len(now))
            data = data[len(now) :]
            if not self._room and self._on_full:
                self._on_full()
        if data:
            self._keep(stream, data, end)

    def restart_ring(self) -> None:
        """Forget the last part: it will come again."""
        self.dropped += self._ring_bytes
        self._ring.clear()
        self._ring_bytes = 0

    def finish(self, on_gap: Callable[[int], None]) -> None:
        """Give the last part to the sink, after telling how many bytes are missing before it, if any are."""
        if self.dropped:
            on_gap(self.dropped)
        while self._ring:
            piece = self._ring.popleft()
            self._sink(piece.stream, piece.data, piece.end)
        self._ring_bytes = 0

    def _keep(self, stream: Stream, data: memoryview, end: int) -> None:
        last = self._ring[-1] if self._ring else None
        if last and last.stream is stream and len(last.data) + len(data) <= MAX_PIECE:
            last.data += data
            last.end = end
        else:
            self._ring.append(Piece(stream, bytearray(data), end))
        self._ring_bytes += len(data)
        while self._ring_bytes > self._tail or len(self._ring) > MAX_PIECES:
            self._drop_first()

    def _drop_first(self) -> None:
        first = self._ring[0]
        excess = self._ring_bytes - self._tail
        if 0 < excess < len(first.data) and len(self._ring) <= MAX_PIECES:
            del first.data[:excess]
            gone = excess
        else:
            self._ring.popleft()
            gone = len(first.data)
        self._ring_bytes -= gone
        self.dropped += gone
