"""The engine's multiplexed output taken apart: frames of eight bytes of head and a payload. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hivemind_worker.domain.errors import EngineUnavailable
from hivemind_worker.store.logs import Stream

HEAD = 8
_KINDS = {0: Stream.STDOUT, 1: Stream.STDOUT, 2: Stream.STDERR, 3: Stream.NOTICE}


class Demux:
    """One multiplexed stream (Engine API, `ContainerAttach`, 'Stream format'), cut anywhere by its reader."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0
        self._kind = Stream.STDOUT

    def feed(self, data: memoryview) -> Iterator[tuple[Stream, memoryview]]:
        """Payloads in order; each is a view into `data`. Raises EngineUnavailable for what is no such stream."""
        at, end = 0, len(data)
        while at < end:
            if self._left:
                take = min(self._left, end - at)
                yield self._kind, data[at : at + take]
                self._left -= take
                at += take
                continue
            take = min(HEAD - len(self._head), end - at)
            self._head += data[at : at + take]
            at += take
            if len(self._head) == HEAD:
                self._open_frame()

    def _open_frame(self) -> None:
        kind = _KINDS.get(self._head[0])
        if kind is None or any(self._head[1:4]):
            raise EngineUnavailable("the engine's output stream is not in frames")
        self._kind = kind
        self._left = int.from_bytes(self._head[4:8], "big")
        self._head.clear()
