"""The engine's output: frames taken apart, capped, and lined up again after a replay."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.domain.errors import EngineUnavailable
from hivemind_worker.execution.capped import MAX_PIECES, CappedLog
from hivemind_worker.execution.frames import Demux
from hivemind_worker.execution.taken import Taken
from hivemind_worker.store.logs import Stream

OUT, ERR = Stream.STDOUT, Stream.STDERR
Parts = list[tuple[Stream, bytes]]
parts = st.lists(st.tuples(st.sampled_from([OUT, ERR]), st.binary(max_size=40)), max_size=30)


def framed(pieces: Parts) -> bytes:
    return b"".join(bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for kind, data in pieces)


def joined(pieces: Parts) -> dict[Stream, bytes]:
    return {kind: b"".join(data for other, data in pieces if other is kind) for kind in (OUT, ERR)}


# --- frames -------------------------------------------------------------------------------------------------


def test_bytes_that_are_not_frames_are_an_engine_that_cannot_be_understood() -> None:
    with pytest.raises(EngineUnavailable):
        list(Demux().feed(memoryview(b"plain text, no frames")))


@given(parts, st.integers(1, 20))
def test_frames_come_out_whole_wherever_the_reads_were_cut(pieces: Parts, size: int) -> None:
    raw, demux = framed(pieces), Demux()
    found: Parts = []
    for at in range(0, len(raw), size):
        found += [(kind, bytes(data)) for kind, data in demux.feed(memoryview(raw[at : at + size]))]
    assert joined(found) == joined(pieces)


# --- the cap ------------------------------------------------------------------------------------------------


class Sink:
    def __init__(self) -> None:
        self.pieces: Parts = []
        self.ends: dict[Stream, int] = {OUT: 0, ERR: 0}
        self.gap: int | None = None
        self.before_gap = 0

    def take(self, stream: Stream, data: bytes | bytearray | memoryview, end: int) -> None:
        self.pieces.append((stream, bytes(data)))
        assert end >= self.ends[stream]
        self.ends[stream] = end

    def gone(self, count: int) -> None:
        self.gap = count
        self.before_gap = sum(len(data) for _, data in self.pieces)


def fill(log: CappedLog, pieces: Parts) -> None:
    ends = {OUT: 0, ERR: 0}
    for stream, data in pieces:
        ends[stream] += len(data)
        log.add(stream, memoryview(data), ends[stream])


@given(parts, st.integers(0, 400))
def test_what_is_kept_and_what_is_dropped_add_up(pieces: Parts, cap: int) -> None:
    sink = Sink()
    log = CappedLog(sink.take, cap=cap)
    fill(log, pieces)
    log.finish(sink.gone)
    everything = b"".join(data for _, data in pieces)
    kept = b"".join(data for _, data in sink.pieces)
    assert len(kept) <= cap
    assert len(kept) + log.dropped == len(everything)
    if sink.gap is None:
        assert kept == everything
    else:
        assert sink.gap == log.dropped
        assert kept[: sink.before_gap] == everything[: sink.before_gap]
        assert everything.endswith(kept[sink.before_gap :])


def test_alternating_single_bytes_cost_a_bounded_number_of_pieces() -> None:
    sink = Sink()
    log = CappedLog(sink.take, cap=800_000)
    fill(log, [(OUT, b"x" * 700_000), *((OUT if n % 2 else ERR, b"y") for n in range(3 * MAX_PIECES))])
    log.finish(sink.gone)
    assert len(sink.pieces) <= MAX_PIECES + 1
    assert log.dropped == 2 * MAX_PIECES


def test_reaching_the_first_parts_end_is_told_once() -> None:
    told: list[str] = []
    log = CappedLog(Sink().take, cap=80, on_full=lambda: told.append("full"))
    fill(log, [(OUT, b"x" * 60), (OUT, b"x" * 60), (OUT, b"x" * 60)])
    assert told == ["full"]


# --- replays ------------------------------------------------------------------------------------------------


@given(parts, parts, st.integers(1, 50))
def test_a_replay_from_the_first_byte_yields_only_what_is_new(before: Parts, after: Parts, size: int) -> None:
    taken = Taken()
    for stream, data in before:
        assert bytes(taken.new(stream, memoryview(data))) == data
    taken.rewind()
    replay = joined(before + after)
    fresh = {
        stream: b"".join(bytes(taken.new(stream, memoryview(data[at : at + size]))) for at in range(0, len(data), size))
        for stream, data in replay.items()
    }
    assert fresh == joined(after)
    assert not taken.shifted
    assert not taken.behind


def test_a_replay_that_lost_its_beginning_is_noticed_where_it_does_not_line_up() -> None:
    taken = Taken({OUT: 100}, {OUT: b"the last chunk before"})
    taken.rewind()
    assert bytes(taken.new(OUT, memoryview(b"n" * 120))) == b"n" * 120
    assert taken.shifted


def test_a_replay_that_ends_before_what_was_read_is_behind() -> None:
    taken = Taken({OUT: 100})
    taken.rewind()
    taken.new(OUT, memoryview(b"x" * 40))
    assert taken.behind
    taken.accept_all()
    assert bytes(taken.new(OUT, memoryview(b"tail"))) == b"tail"
