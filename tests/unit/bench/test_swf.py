"""Traces are read as their format says, and what is wrong in one is named by its line."""

from __future__ import annotations

import gzip
import os
import re
import threading
from pathlib import Path

import pytest

from bench.swf import LIMIT_FACTOR, MalformedTrace, at_load, read

GOOD = "1 0 -1 100 4 -1 -1 4 600 -1 1 7 7 9 1 -1 -1 -1"


def trace(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "some.swf"
    path.write_text("\n".join(["; MaxProcs: 8", *lines]) + "\n")
    return path


def test_a_job_is_read_with_its_declared_limit_and_asked_processors(tmp_path: Path) -> None:
    [job], processors = read(trace(tmp_path, "1 5 -1 100 4 -1 -1 6 600 -1 1 7 7 9 1 -1 -1 -1"))
    assert processors == 8
    assert (job.submit, job.run, job.limit, job.processors) == (5_000, 100_000, 600_000, 6)


@pytest.mark.parametrize(("fields", "known"), [("7 7 9", ("7", "9")), ("-1 -1 -1", ("", "")), ("0 -1 -1.0", ("", ""))])
def test_a_user_or_application_that_is_not_known_is_none(tmp_path: Path, fields: str, known: tuple[str, str]) -> None:
    [job, _], _ = read(trace(tmp_path, GOOD.replace("7 7 9", fields), GOOD.replace("7 7 9", "8 8 9")))
    assert (job.user, job.application) == known


def test_one_user_and_application_for_all_say_no_more_than_none(tmp_path: Path) -> None:
    jobs, _ = read(trace(tmp_path, GOOD, GOOD))
    assert {(job.user, job.application) for job in jobs} == {("", "")}
    jobs, _ = read(trace(tmp_path, GOOD, GOOD.replace("7 7 9", "7 7 8")))
    assert {(job.user, job.application) for job in jobs} == {("7", "9"), ("7", "8")}


def test_without_a_declared_limit_or_asked_processors_the_used_ones_stand_in(tmp_path: Path) -> None:
    [job], _ = read(trace(tmp_path, "1 0 -1 100 4 -1 -1 -1 -1 -1 1 7 7 9 1 -1 -1 -1"))
    assert (job.limit, job.processors) == (100_000 * LIMIT_FACTOR, 4)


def test_a_job_that_never_ran_is_left_out_and_one_beyond_its_limit_ends_there(tmp_path: Path) -> None:
    never = "2 0 -1 -1 4 -1 -1 4 600 -1 5 7 7 9 1 -1 -1 -1"
    over = "3 0 -1 700 4 -1 -1 4 600 -1 1 7 7 9 1 -1 -1 -1"
    jobs, _ = read(trace(tmp_path, GOOD, never, over))
    assert [(job.number, job.run) for job in jobs] == [(1, 100_000), (3, 600_000)]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("1 2 3", "line 3 has 3 fields, not 18"),
        (GOOD.replace("600", "ten"), "line 3, field 9: 'ten' is not a number"),
        (GOOD.replace("600", "nan"), "line 3, field 9: 'nan' is not a finite number"),
        (GOOD.replace("1 0 ", "1 -4 ", 1), "line 3, field 2: submitted at -4"),
        (GOOD.replace("4 600", "4.5 600"), "line 3: 4.5 is no number of processors"),
        (GOOD.replace("4 600", "4 1e300"), "line 3, field 9: '1e300' is too large to mean anything"),
        (GOOD.replace("1 0 ", "1 1e306 ", 1), "line 3, field 2: '1e306' is too large to mean anything"),
        (GOOD.replace("100 4 ", "1e306 4 ", 1), "line 3, field 4: '1e306' is too large to mean anything"),
        (GOOD.replace("600", "6_0"), "line 3, field 9: '6_0' is not a number"),
        (GOOD.replace("600", "٦٠"), "line 3, field 9: '٦٠' is not a number"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(MalformedTrace) as caught:
        read(trace(tmp_path, GOOD, line))
    assert complaint in str(caught.value)


@pytest.mark.parametrize("odd", ["\f", "\x0b", "\x1c", "\x85", "\u2028", "\u2029", "\r"])
def test_lines_are_counted_as_editors_count_them(tmp_path: Path, odd: str) -> None:
    path = tmp_path / "some.swf"
    path.write_bytes(f"; Note: one{odd if odd != chr(13) else ''}line\r\n{GOOD}{odd}\n{GOOD} oops\n".encode())
    with pytest.raises(MalformedTrace, match=r"line 3 has 19 fields"):
        read(path, 8)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "some.swf"
    path.write_bytes(b"\xef\xbb\xbf; MaxProcs: 8\n" + GOOD.encode())
    assert read(path)[1] == 8
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert [job.number for job in read(path, 8)[0]] == [1]


@pytest.mark.parametrize("value", ["²", "٨", "9" * 5000, "many", ""])
def test_a_header_that_names_no_number_names_no_processors(tmp_path: Path, value: str) -> None:
    path = tmp_path / "some.swf"
    path.write_text(f"; MaxProcs: {value}\n{GOOD}\n")
    with pytest.raises(MalformedTrace, match="say --procs"):
        read(path)


def test_a_trace_without_jobs_or_processors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MalformedTrace, match="holds no job"):
        read(trace(tmp_path))
    bare = tmp_path / "bare.swf"
    bare.write_text(GOOD)
    with pytest.raises(MalformedTrace, match="say --procs"):
        read(bare)
    with pytest.raises(MalformedTrace, match="No such file"):
        read(tmp_path / "nowhere.swf")


def test_what_the_machine_cannot_hold_or_nobody_knows_is_left_out_and_said(tmp_path: Path) -> None:
    lines = (
        GOOD,
        GOOD.replace("1 0 ", "2 -1 ", 1),
        "3 0 -1 -1 4 -1 -1 4 600 -1 5 7 7 9 1 -1 -1 -1",
        "4 0 -1 50 -1 -1 -1 -1 600 -1 1 7 7 9 1 -1 -1 -1",
        GOOD.replace("4 600", "16 600"),
        GOOD.replace("4 600", "9 600"),
        GOOD.replace("600 -1 1 ", "600 -1 2 "),
    )
    said: list[str] = []
    jobs, _ = read(trace(tmp_path, *lines), say=said.append)
    assert [job.number for job in jobs] == [1]
    assert [text.partition(": ")[2] for text in said] == [
        "1 left out that came nobody knows when; the first is line 3",
        "2 left out that never ran; the first is line 4",
        "1 left out that are parts of jobs that have lines of their own; the first is line 8",
        "2 left out that asked for more than 8 processors; the first is line 6",
    ]
    with pytest.raises(MalformedTrace, match="holds no job that ran and fits on 3 processors"):
        read(trace(tmp_path, *lines), 3)


def test_a_load_is_work_over_processors_and_the_span_of_arrivals(tmp_path: Path) -> None:
    jobs, processors = read(trace(tmp_path, GOOD, GOOD.replace("1 0 ", "2 50 ", 1)))
    scaled = at_load(jobs, processors, 0.5)
    assert [job.submit for job in scaled] == [0, 200_000]
    assert 2 * 100 * 4 / (processors * 200) == 0.5
    with pytest.raises(MalformedTrace, match="no load to scale"):
        at_load(jobs[:1] * 2, processors, 0.5)


def test_a_packed_trace_is_told_to_be_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "some.swf.gz"
    path.write_bytes(gzip.compress(f"; MaxProcs: 8\n{GOOD}\n".encode()))
    with pytest.raises(MalformedTrace, match=re.escape(f"{path}: is gzip: unpack it first")):
        read(path)


def test_a_trace_may_come_through_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(f"; MaxProcs: 8\r\n{GOOD}\r\n",))
    writer.start()
    jobs, processors = read(path)
    writer.join()
    assert (len(jobs), processors) == (1, 8)
