"""What people read: sizes, times, tables; and nothing that could drive their terminal."""

from __future__ import annotations

import io

import pytest

from hivemind_cli.output import clean, coloured, duration, size, table


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "-"),
        (0, "0"),
        (999, "999"),
        (1000, "0.977K"),
        (268435456, "256M"),
        (1073741824, "1G"),
        (5 * 2**50, "5120T"),
    ],
)
def test_sizes(amount: int | None, text: str) -> None:
    assert size(amount) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (-1, "0.0s"), (0.42, "0.4s"), (59, "59s"), (75, "1m15s"), (7260, "2h01m"), (90000, "1d01h")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_escape_sequences_of_others_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in clean("\x1b[2J\x1b]0;title\x07gone\r\n")


def test_the_last_column_is_cut_to_the_terminal_and_nothing_is_cut_without_one() -> None:
    rows = [("a", "x" * 100)]
    assert max(len(line) for line in table(("ID", "WHAT"), rows, 40)) == 40
    assert table(("ID", "WHAT"), rows)[1].endswith("x" * 100)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_and_only_when_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert coloured(Terminal())
    assert not coloured(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured(Terminal())
