"""Which names a bundle's entries may have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.execution.zip_names import decode_name, find_conflict, split_name


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "no name"),
        ("../evil", "leaves the bundle"),
        ("a/../../evil", "leaves the bundle"),
        ("a/..", "leaves the bundle"),
        ("/etc/passwd", "absolute"),
        ("//host/share", "absolute"),
        ("C:/evil", "drive letter"),
        ("c:evil", "drive letter"),
        ("..\\evil", "backslash"),
        ("a\\b", "backslash"),
        ("a\0b", "control character"),
        ("a\nb", "control character"),
        ("a\x7f", "control character"),
        ("a\x85b", "control character"),
        ("x" * 256, "longer than 255"),
        ("ü" * 128, "longer than 255"),
        ("/".join(["x" * 200] * 20), "longer than 3840"),
        ("/".join(["d"] * 101), "nested deeper"),
        (".hivemind/run", "node's own"),
        ("./.hivemind", "node's own"),
    ],
)
def test_a_name_that_breaks_a_rule_is_refused_with_the_rule(name: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        split_name(name)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("main.py", ("main.py",)),
        ("./main.py", ("main.py",)),
        ("a//b/./c/", ("a", "b", "c")),
        ("./", ()),
        ("..main/x..", ("..main", "x..")),
        ("src/.hivemind", ("src", ".hivemind")),
        ("übung/日本.txt", ("übung", "日本.txt")),
        ("x" * 255, ("x" * 255,)),
    ],
)
def test_a_harmless_name_is_taken(name: str, parts: tuple[str, ...]) -> None:
    assert split_name(name) == parts


@given(st.text(max_size=60))
def test_no_accepted_name_leaves_its_directory_whatever_is_written(name: str) -> None:
    try:
        parts = split_name(name)
    except ValueError:
        return
    assert not set(parts) & {"", ".", ".."}
    assert not any("/" in part or "\0" in part for part in parts)
    assert split_name("/".join(parts)) == parts if parts else True


def test_a_name_that_only_claims_to_be_utf8_is_refused() -> None:
    with pytest.raises(ValueError, match="UTF-8"):
        decode_name(b"\xff", is_utf8=True)


def test_names_without_the_flag_are_utf8_where_they_can_be_and_code_page_437_elsewhere() -> None:
    assert decode_name("ü".encode(), is_utf8=False) == "ü"
    assert decode_name(b"\x81", is_utf8=False) == "ü"


def test_a_path_that_is_there_twice_or_as_both_kinds_is_a_conflict() -> None:
    assert find_conflict([("a",), ("a",)], []) == "a"
    assert find_conflict([("a",), ("a", "b")], []) == "a"
    assert find_conflict([("a", "b")], [("a", "b")]) == "a/b"
    assert find_conflict([("a", "b"), ("A", "b")], [("a",), ("a",)]) is None
