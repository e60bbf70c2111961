"""The pump: from the engine's output to the log file beside the workspace and to the live tail."""

from __future__ import annotations

import time
from pathlib import Path
from typing import BinaryIO

import structlog

from hivemind_worker.domain.outcome import LogInfo
from hivemind_worker.domain.resources import KIB, format_size
from hivemind_worker.execution.capped import CappedLog, Piece
from hivemind_worker.execution.frames import Demux
from hivemind_worker.execution.live import LiveLog, notice
from hivemind_worker.execution.taken import Taken
from hivemind_worker.execution.wire import EngineStream
from hivemind_worker.store.logs import Chunk, Stream

log = structlog.get_logger()

#: seconds that the first byte of a chunk waits for company
LINGER = 0.05
MAX_CHUNK = 32 * KIB
#: pieces of alternating streams in one LINGER; beyond, each stream's bytes go together
MAX_PIECES = 32
BUFFER = 128 * KIB
#: reads per turn, so that a job that never stops printing does not keep its body from its other duties
READS_PER_TURN = 16
#: seconds to wait at a job's end for Redis to have its log
SETTLE = 5.0

_UNREAD = "the container engine was away when the job ended: the end of its output may be missing here"
_PASSED_ON = (
    "the container engine was followed by another while this ran: what was on its way through it then may be missing "
    "above"
)
_END_GONE = "the end of the output is missing here: the engine died before it had written it down"
_CUT_SHORT = "some of the output is missing: the engine kept only its last part while no worker watched"


class Pump:
    """One attempt's log. Owned by the body's thread; ended by `finish` or `abandon`.

    `last`: the newest chunk of the job's live log, where the live tail goes on if it is of this attempt.
    A disk that is full only cuts the file short.
    """

    def __init__(self, path: Path, live: LiveLog, *, cap: int, attempt: int, last: Chunk | None) -> None:
        mine = last if last and last.attempt == attempt else None
        ends = {Stream.STDOUT: mine.stdout_end, Stream.STDERR: mine.stderr_end} if mine else {}
        recent: dict[Stream, bytes] = {mine.stream: mine.data} if mine else {}
        self._live = live
        self._cap = cap
        self._path = path
        self._truncated = self._file_lost = False
        self._half_line = False
        self._file: BinaryIO | None = None
        try:
            self._file = path.open("wb", buffering=BUFFER)
        except OSError as error:
            self._lose_file(error)
        self._in_file, self._in_live = Taken(), Taken(ends, recent)
        self._file_log = CappedLog(self._write, cap=cap)
        self._live_log = CappedLog(
            self._gather, cap=cap, used=sum(ends.values()), on_full=self._say_full if cap else None
        )
        self._demux = Demux()
        self._replayed = 0
        self._buffer = memoryview(bytearray(BUFFER))
        self._pieces: list[Piece] = []
        #: monotonic time at which `flush` is due; None: nothing waits
        self.due: float | None = None

    @property
    def task_id(self) -> str:
        """Whose log it is."""
        return self._live.task_id

    # --- reading -----------------------------------------------------------------------------------------

    def read(self, source: EngineStream) -> bool:
        """Take what is there; False at the end of the stream. Raises EngineUnavailable."""
        for _ in range(READS_PER_TURN):
            count = source.read_into(self._buffer)
            if count is None:
                return True
            if count == 0:
                return False
            self.feed(self._buffer[:count])
        return True

    def feed(self, data: memoryview) -> None:
        """Take the next bytes of the multiplexed stream. Raises EngineUnavailable when they are not in frames."""
        for stream, payload in self._demux.feed(data):
            self._replayed += len(payload)
            if stream is Stream.NOTICE:
                log.warning("engine's word in a log", words=bytes(payload[:200]).decode("utf-8", "replace"))
                continue
            if fresh := self._in_file.new(stream, payload):
                self._file_log.add(stream, fresh, self._in_file.ends[stream])
            shifted = self._in_live.shifted
            if fresh := self._in_live.new(stream, payload):
                if self._in_live.shifted and not shifted:
                    self._note_cut_short()
                self._live_log.add(stream, fresh, self._in_live.ends[stream])

    def rewind(self) -> None:
        """What comes next is the engine's own copy, from the first byte it has."""
        self._demux = Demux()
        self._replayed = 0
        self._in_file.rewind()
        self._in_live.rewind()

    @property
    def behind(self) -> bool:
        """Whether a replay ended before it came to what was read already."""
        return self._in_file.behind or self._in_live.behind

    @property
    def beginning_gone(self) -> bool:
        """Whether that is because the engine let go of the beginning: it keeps at least the cap. Else its end is gone,
        with an engine that died before it wrote down what it had passed on."""
        return self.behind and self._replayed >= self._cap

    def note_end_gone(self) -> None:
        """Say in the file, which has only the engine's copy, that the live log has more."""
        if self._in_live.behind:
            self._truncated = True
            self._say_in_file(_END_GONE)

    def take_all(self) -> None:
        """What comes next is the rest of a copy whose beginning is gone: it stands for the last part of the log."""
        self._demux = Demux()
        self._note_cut_short()
        for taken, capped in ((self._in_file, self._file_log), (self._in_live, self._live_log)):
            taken.accept_all()
            capped.restart_ring()

    # --- the live tail -----------------------------------------------------------------------------------

    def flush(self) -> None:
        """Send what was gathered."""
        pieces, self._pieces, self.due = self._pieces, [], None
        for piece in pieces:
            self._live.put(piece.stream, bytes(piece.data), piece.end)

    def _gather(self, stream: Stream, data: bytes | bytearray | memoryview, end: int) -> None:
        if self.due is None:
            self.due = time.monotonic() + LINGER
        view, begin = memoryview(data), end - len(data)
        for offset in range(0, len(view), MAX_CHUNK):
            part = view[offset : offset + MAX_CHUNK]
            self._gather_part(stream, part, begin + offset + len(part))

    def _gather_part(self, stream: Stream, part: memoryview, end: int) -> None:
        candidates = self._pieces[-1:] if len(self._pieces) < MAX_PIECES else reversed(self._pieces)
        piece = next((piece for piece in candidates if piece.stream is stream), None)
        if piece is not None and len(piece.data) + len(part) <= MAX_CHUNK:
            piece.data += part
            piece.end = end
            return
        if piece is not None or len(self._pieces) >= MAX_PIECES:
            self.flush()
            self.due = time.monotonic() + LINGER
        self._pieces.append(Piece(stream, bytearray(part), end))

    def _say_full(self) -> None:
        self.flush()
        keep = format_size(self._cap // 8)
        self._live.notice(f"the log nears its cap of {format_size(self._cap)}: its last {keep} follow at the end")

    # --- the file ----------------------------------------------------------------------------------------

    def _write(self, _stream: Stream, data: bytes | bytearray | memoryview, _end: int = 0) -> None:
        if self._file is None:
            return
        try:
            self._file.write(data)
        except OSError as error:
            self._lose_file(error)
        if len(data):
            self._half_line = data[-1] != ord("\n")

    def _say_in_file(self, words: str) -> None:
        """The node's own word, on a line of its own: a program may have been cut off in the middle of one."""
        self._write(Stream.NOTICE, (b"\n" if self._half_line else b"") + notice(words))

    def _lose_file(self, error: OSError) -> None:
        log.warning("log file cut short", file=self._path.parent.name, error=str(error))
        self._truncated = self._file_lost = True
        file, self._file = self._file, None
        _close(file)

    def _tell_file_lost(self) -> None:
        """Into the file itself, should there be room again."""
        append_notice(self._path, "the rest of this file could not be written; the live log has its end")

    def _note_cut_short(self) -> None:
        self._truncated = True
        self._say_in_file(_CUT_SHORT)
        self.flush()
        self._live.notice(_CUT_SHORT)

    # --- the end -----------------------------------------------------------------------------------------

    def finish(self, keep: int, *, unread: bool = False, passed_on: bool = False) -> LogInfo:
        """Complete file and live tail, of which the last `keep` bytes stay. What the job wrote, in bytes.

        `unread`: the engine was away at the end, so that nobody can tell whether this is all of it. `passed_on`: it ran
        under more than one engine; what the one before had read and not yet written went with it.
        """
        doubt = _UNREAD if unread else _PASSED_ON if passed_on else ""
        self._file_log.finish(lambda gone: self._say_in_file(self._gap(gone)))
        if doubt:
            self._say_in_file(doubt)
        file, self._file = self._file, None
        if error := _close(file):
            self._lose_file(error)
        if self._file_lost:
            self._tell_file_lost()
        self._live_log.finish(self._tell_gap)
        self.flush()
        if doubt:
            self._live.notice(doubt)
        if not self._live.flush(SETTLE):
            log.warning("live log not complete yet", job_id=self._live.task_id)
        self._live.close(keep)
        truncated = self._truncated or self._file_log.dropped > 0
        return LogInfo(bytes=sum(self._in_file.ends.values()), truncated=truncated)

    def abandon(self) -> None:
        """Leave it as it is: another body will read the log again from its beginning."""
        file, self._file = self._file, None
        _close(file)
        self.flush()
        self._live.close(None)

    def _tell_gap(self, gone: int) -> None:
        self.flush()
        self._live.notice(self._gap(gone))

    def _gap(self, gone: int) -> str:
        return f"{gone} bytes of output were dropped here: the log is capped at {self._cap} bytes"


def append_notice(path: Path, words: str) -> None:
    """The node's own word at the end of a log's file, should there be room. Does not raise."""
    try:
        with path.open("ab") as file:
            file.write((b"\n" if file.tell() else b"") + notice(words))
    except OSError as error:
        log.warning("log file cut short without a word", file=path.parent.name, error=str(error))


def _close(file: BinaryIO | None) -> OSError | None:
    """Close it even if what is left cannot be written; why it could not."""
    if file is None:
        return None
    try:
        file.close()
    except OSError as error:
        return error
    return None
