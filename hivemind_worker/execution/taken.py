"""What was already read of each stream, so that a replay from the first byte yields only what is new. Pure."""

from __future__ import annotations

from hivemind_worker.store.logs import Stream

#: so many last bytes are remembered to see that a replay lines up
RECENT = 256


class Taken:
    """Counts and last bytes per stream of one reader.

    The engine's own copy of the output is bounded: if its beginning is gone, a replay does not line up with what was
    read. That shows where the replay reaches the end of what was read, and `shifted` says so.
    """

    def __init__(self, ends: dict[Stream, int] | None = None, recent: dict[Stream, bytes] | None = None) -> None:
        known = ends or {}
        self.ends = {stream: known.get(stream, 0) for stream in (Stream.STDOUT, Stream.STDERR)}
        self._recent = dict(recent or {})
        self._at = dict(self.ends)
        self.shifted = False

    def rewind(self) -> None:
        """What comes next is a replay from the first byte."""
        self._at = dict.fromkeys(self._at, 0)

    def accept_all(self) -> None:
        """What comes next is taken as new, whatever was read before."""
        self._at = dict(self.ends)

    @property
    def behind(self) -> bool:
        """Whether a replay has not yet come to where the reading stopped."""
        return any(self._at[stream] < end for stream, end in self.ends.items())

    def new(self, stream: Stream, data: memoryview) -> memoryview:
        """The part of `data` that was not read before, now read."""
        at, end = self._at[stream], self.ends[stream]
        if at < end:
            data = self._skip(stream, data, at, end)
        size = len(data)
        if size:
            self.ends[stream] += size
            self._at[stream] = self.ends[stream]
            recent = bytes(data[-RECENT:])
            if size < RECENT:
                recent = (self._recent.get(stream, b"") + recent)[-RECENT:]
            self._recent[stream] = recent
        return data

    def _skip(self, stream: Stream, data: memoryview, at: int, end: int) -> memoryview:
        """Compare what overlaps the remembered bytes; from the first difference on everything is new."""
        recent = self._recent.get(stream, b"")
        begin = end - len(recent)
        low, high = max(at, begin), min(at + len(data), end)
        if low < high and data[low - at : high - at] != memoryview(recent)[low - begin : high - begin]:
            self.shifted = True
            self._at[stream] = end
            return data
        known = min(len(data), end - at)
        self._at[stream] = at + known
        return data[known:]
