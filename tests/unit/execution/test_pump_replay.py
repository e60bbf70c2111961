"""The pump and the engine's copy: what was read already, and a copy whose beginning or whose end is gone."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from hivemind_worker.execution.logs import Pump
from hivemind_worker.store.logs import Chunk, Stream

CAP = 64 * 1024


class Live:
    """What the live tail was told."""

    task_id = "j"

    def __init__(self) -> None:
        self.data = b""
        self.notices: list[str] = []

    def put(self, _stream: Stream, data: bytes, _end: int) -> None:
        self.data += data

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def flush(self, _timeout: float) -> bool:
        return True

    def close(self, _keep: int | None) -> None:
        return None


def frame(data: bytes) -> memoryview:
    return memoryview(struct.pack(">BxxxI", 1, len(data)) + data)


def pump(path: Path, live: Live, last: Chunk | None = None) -> Pump:
    anything: Any = live
    return Pump(path, anything, cap=CAP, attempt=1, last=last)


def read_before(data: bytes) -> Chunk:
    """The newest chunk that a worker wrote before it died."""
    return Chunk(7, Stream.STDOUT, data[-20:], at=0, attempt=1, stdout_end=len(data), stderr_end=0)


def test_a_copy_that_lacks_its_end_is_not_taken_again(tmp_path: Path) -> None:
    """The engine died before it wrote down what it had passed on: the live log has it, the file says it has not."""
    live, whole = Live(), b"".join(b"line %d\n" % n for n in range(100))
    again = pump(tmp_path / "log", live, read_before(whole))
    again.rewind()
    again.feed(frame(whole[:300]))
    assert again.behind
    assert not again.beginning_gone
    again.note_end_gone()
    info = again.finish(1024)
    kept = (tmp_path / "log").read_bytes()
    assert kept.startswith(whole[:300])
    assert b"the end of the output is missing here" in kept
    assert info.truncated
    assert (live.data, live.notices) == (b"", [])


def test_a_copy_that_lacks_its_beginning_is_known_by_its_size(tmp_path: Path) -> None:
    live, whole = Live(), bytes(range(256)) * 4096
    again = pump(tmp_path / "log", live, read_before(whole))
    again.rewind()
    again.feed(frame(whole[-2 * CAP - 100 : -100]))
    assert again.beginning_gone
    again.finish(1024)


def test_a_copy_that_is_whole_goes_on_where_the_reading_stopped(tmp_path: Path) -> None:
    live, whole = Live(), b"".join(b"line %d\n" % n for n in range(100))
    again = pump(tmp_path / "log", live, read_before(whole[:300]))
    again.rewind()
    again.feed(frame(whole))
    assert not again.behind
    again.finish(1024)
    assert live.data == whole[300:]
    assert (tmp_path / "log").read_bytes() == whole


@pytest.mark.parametrize(("written", "between"), [(b"whole\nhal", b"\n"), (b"whole\n", b""), (b"", b"")])
def test_the_nodes_word_in_the_file_stands_on_a_line_of_its_own(tmp_path: Path, written: bytes, between: bytes) -> None:
    made = pump(tmp_path / "log", Live())
    made.feed(frame(written))
    made.finish(1024, unread=True)
    kept = (tmp_path / "log").read_bytes()
    assert kept.startswith(written + between + b"[hivemind] the container engine was away")
    assert kept.count(b"\n") == written.count(b"\n") + len(between) + 1
