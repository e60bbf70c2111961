"""One range of bytes, as RFC 9110 has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.monitor.ranges import Span, Unsatisfiable, parse_range


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=99-100", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_bytes_that_are_not_there_are_refused(header: str, size: int) -> None:
    with pytest.raises(Unsatisfiable):
        parse_range(header, size)


@pytest.mark.parametrize(
    "header",
    ["", "bytes=", "bytes=-", "items=0-1", "bytes=0-1,4-5", "bytes=5-2", "bytes=a-b", "bytes=٣-", "bytes=" + "9" * 30],
)
def test_what_is_no_single_range_means_the_whole(header: str) -> None:
    assert parse_range(header, 10) is None


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-", Span(0, 10)),
        ("bytes=0-0", Span(0, 1)),
        ("bytes=4-7", Span(4, 8)),
        ("bytes=8-100", Span(8, 10)),
        ("bytes=-3", Span(7, 10)),
        ("bytes=-300", Span(0, 10)),
        (" Bytes = 1 - 2 ", Span(1, 3)),
    ],
)
def test_one_range(header: str, span: Span) -> None:
    assert parse_range(header, 10) == span


@given(st.text(max_size=40), st.integers(0, 100))
def test_no_header_leads_out_of_the_file(tail: str, size: int) -> None:
    try:
        span = parse_range("bytes=" + tail, size)
    except Unsatisfiable:
        return
    assert span is None or 0 <= span.start < span.end <= size
