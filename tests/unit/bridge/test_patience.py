"""For how long a stream that lost its bridge tries to find it again."""

from __future__ import annotations

import pytest

from bridge import client_streams
from bridge.call_error import CallError
from bridge.client_streams import GIVE_UP, OPEN, _Patience

AWAY = CallError("UNAVAILABLE", "the bridge is away")


class Clock:
    """A time that passes only when somebody sleeps or says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(client_streams, "time", made)
    return made


def tries_until_given_up(patience: _Patience, clock: Clock) -> float:
    began = clock.now
    try:
        while True:
            patience.pause(AWAY)
    except CallError:
        return clock.now - began


def test_it_gives_up_after_a_while(clock: Clock) -> None:
    assert tries_until_given_up(_Patience(), clock) == pytest.approx(GIVE_UP, abs=3.0)


def test_a_job_that_was_silent_for_hours_costs_no_patience(clock: Clock) -> None:
    patience = _Patience()
    clock.now += 7200
    assert tries_until_given_up(patience, clock) == pytest.approx(GIVE_UP, abs=3.0)


def test_a_stream_that_was_found_again_and_stayed_silent_starts_over(clock: Clock) -> None:
    patience = _Patience()
    patience.pause(AWAY)
    clock.now += GIVE_UP + OPEN
    assert tries_until_given_up(patience, clock) == pytest.approx(GIVE_UP, abs=3.0)


def test_an_answer_that_is_no_absence_is_final(clock: Clock) -> None:
    with pytest.raises(CallError):
        _Patience().pause(CallError("NOT_FOUND", "there is no such job"))
