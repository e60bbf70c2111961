"""For how long a stream that lost its bridge tries to find it again."""

from __future__ import annotations

import pytest

from bridge import client_streams
from bridge.call_error import CallError
from bridge.client import PATIENCE, Client
from bridge.client_streams import OPEN, SAID_AFTER, _Patience

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


def patience(limit: float | None = PATIENCE, told: list[CallError | None] | None = None) -> _Patience:
    """A stream's, of a client with so much of it."""
    return _Patience(Client("nowhere:1", patience=limit, on_outage=told.append if told is not None else None))


def tries_until_given_up(tried: _Patience, clock: Clock) -> float:
    began = clock.now
    try:
        while True:
            tried.pause(AWAY)
    except CallError:
        return clock.now - began


@pytest.mark.parametrize("limit", [PATIENCE, 0.0, 600.0])
def test_it_gives_up_after_as_long_as_it_was_told(clock: Clock, limit: float) -> None:
    assert tries_until_given_up(patience(limit), clock) == pytest.approx(limit, abs=3.0)


def test_without_a_limit_it_tries_until_the_bridge_is_back(clock: Clock) -> None:
    tried, began = patience(None), clock.now
    while clock.now < began + 7 * 86400:
        tried.pause(AWAY)


def test_a_job_that_was_silent_for_hours_costs_no_patience(clock: Clock) -> None:
    tried = patience()
    clock.now += 7200
    assert tries_until_given_up(tried, clock) == pytest.approx(PATIENCE, abs=3.0)


def test_a_stream_that_was_found_again_and_stayed_silent_starts_over(clock: Clock) -> None:
    tried = patience()
    tried.pause(AWAY)
    clock.now += PATIENCE + OPEN
    assert tries_until_given_up(tried, clock) == pytest.approx(PATIENCE, abs=3.0)


def test_an_answer_that_is_no_absence_is_final(clock: Clock) -> None:
    with pytest.raises(CallError):
        patience(None).pause(CallError("NOT_FOUND", "there is no such job"))


def test_an_outage_that_lasts_is_told_once_and_so_is_its_end(clock: Clock) -> None:
    told: list[CallError | None] = []
    tried, began = patience(None, told), clock.now
    tried.pause(AWAY)
    assert told == []
    while clock.now < began + 100 * SAID_AFTER:
        tried.pause(AWAY)
    assert told == [AWAY]
    tried.progress()
    tried.progress()
    assert told == [AWAY, None]


def test_an_outage_that_is_over_soon_is_not_told(clock: Clock) -> None:
    told: list[CallError | None] = []
    tried = patience(None, told)
    for _ in range(3):
        tried.pause(AWAY)
        tried.progress()
        clock.now += 1
    assert told == []
