"""How a job's files are called inside its artifact."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.delivery.artifact_names import place, spell, unspell

#: any path as Linux hands it to Python
linux_names = st.binary(min_size=1, max_size=40).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"%")))
tricky_names = st.text("%aF25\\\n\udcff\udc80ü/", max_size=12)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("out/übung 100%.txt", "out/übung 100%.txt"),
        ("50%ab", "50%ab"),
        (os.fsdecode(b"caf\xe9"), "caf%E9"),
        ("a%FFb", "a%25FFb"),
        ("a\\b", "a%5Cb"),
        ("new\nline", "new%0Aline"),
        ("nel\x85", "nel%C2%85"),
    ],
)
def test_only_what_a_zip_cannot_carry_is_spelled_out(name: str, text: str) -> None:
    assert spell(name) == text
    assert unspell(text) == name


@given(st.one_of(linux_names, tricky_names))
def test_a_spelling_can_be_undone_and_is_plain_text(name: str) -> None:
    text = spell(name)
    text.encode("utf-8")
    assert unspell(text) == name
    assert "\\" not in text
    assert text.isprintable() or not any(ord(character) < 32 for character in text)


@given(st.lists(st.one_of(linux_names, tricky_names), unique=True))
def test_two_files_never_get_the_same_spelling(names: list[str]) -> None:
    assert len({spell(name) for name in names}) == len(names)


def test_a_file_called_like_one_of_the_nodes_makes_way_for_it() -> None:
    assert place("outcome.json", lambda _: False) == "job.outcome.json"
    assert place("execution_log.txt", {"job.execution_log.txt"}.__contains__) == "job.job.execution_log.txt"
    assert place("deep/outcome.json", lambda _: True) == "deep/outcome.json"
