"""How far a replay is: said at most twice a second, and not at all of one that is through at once."""

from __future__ import annotations

import sys

import pytest

from bench import progress
from bench.admission import POLICIES, compare
from bench.progress import Progress
from bench.swf import TraceJob
from hivemind_cli.progress import StatusLine

JOBS = [TraceJob(number, 1000 * number, 5000, 9000, 2, "", "") for number in range(9)]


class Line(StatusLine):
    """One that is looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def show(self, text: str, *, now: bool = False) -> None:
        self.said.append(text)


def test_it_is_said_at_most_twice_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([100.0, 100.1, 100.49, 100.5, 100.6, 100.99, 101.0, 141.7])
    monkeypatch.setattr(progress, "monotonic", lambda: next(moments))
    line = Line()
    tell = Progress(line, "ours", 12_000)
    for started in (1, 2, 3, 4, 5, 6, 3412):
        tell(started)
    assert line.said == [
        "ours: 3 of 12,000 jobs, 0:00",
        "ours: 6 of 12,000 jobs, 0:01",
        "ours: 3,412 of 12,000 jobs, 0:41",
    ]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("terminal", [True, False])
def test_every_policy_says_how_many_have_started_and_that_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], policy: str, terminal: bool
) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    compare(JOBS, 4, [policy], of="some 0.7, ")
    said = [text.rpartition(", ")[0] for text in capsys.readouterr().err.split("\r\033[K")[1:]]
    shown = [f"some 0.7, {policy}: {started} of 9 jobs" for started in range(1, 10)]
    assert list(dict.fromkeys(said)) == ([*shown, ""] if terminal else [])
