"""Hints that went unheard are sent again; silence that lasts means deafness, death, or a lost node."""

from __future__ import annotations

import pytest

from hivemind_worker.admission.recovery import (
    ADOPT_AFTER,
    DEAF_AFTER,
    LONGEST_GAP,
    Absences,
    Hints,
    Watchman,
    fresh_for,
    longest_gap,
    lost_outcome,
)
from hivemind_worker.domain.outcome import Cause
from tests.builders import job


def test_a_row_from_an_earlier_boot_gets_its_hint_at_once() -> None:
    assert Hints(2.0).overdue({"a": 1}, [], now=0.0) == ["a"]


def test_a_fresh_hint_is_given_time() -> None:
    hints = Hints(2.0)
    hints.sent("a", 1, now=10.0)
    assert hints.overdue({"a": 1}, [], now=11.0) == []
    assert hints.overdue({"a": 1}, [], now=12.0) == ["a"]


def test_what_runs_here_needs_no_hint_and_a_new_attempt_starts_afresh() -> None:
    hints = Hints(2.0)
    hints.sent("a", 1, now=0.0)
    assert hints.overdue({"a": 1}, ["a"], now=9.0) == []
    assert hints.overdue({"a": 2}, [], now=9.0) == ["a"]


def beats(hints: Hints, first: float, last: float) -> list[bool]:
    """What each look says, one every two seconds."""
    return [hints.unanswered(first + 2.0 * beat) for beat in range(int((last - first) / 2) + 1)]


def test_silence_is_deafness_only_after_repeats_and_a_long_time() -> None:
    hints = Hints(2.0)
    hints.sent("a", 1, now=0.0)
    assert not any(beats(hints, 0.0, DEAF_AFTER + 4))
    hints.sent("a", 1, now=5.0)
    hints.overdue({"a": 1}, ["a"], now=DEAF_AFTER + 6)
    assert not any(beats(hints, DEAF_AFTER + 6, DEAF_AFTER + 8))

    hints.sent("b", 1, now=40.0)
    hints.sent("b", 1, now=45.0)
    assert not any(beats(hints, DEAF_AFTER + 10, 40.0 + DEAF_AFTER))
    assert hints.unanswered(42.0 + DEAF_AFTER)


def test_an_outage_of_redis_is_no_sign_of_deafness() -> None:
    hints = Hints(2.0)
    hints.sent("a", 1, now=0.0)
    hints.sent("a", 1, now=2.0)
    assert not any(beats(hints, 0.0, 4.0))
    hints.forget()
    back = LONGEST_GAP
    hints.sent("a", 1, now=back)
    hints.sent("a", 1, now=back + 2)
    assert not any(beats(hints, back, back + DEAF_AFTER))
    assert hints.unanswered(back + DEAF_AFTER + 2)


def test_a_worker_that_was_frozen_does_not_call_its_consumer_deaf() -> None:
    hints = Hints(2.0)
    hints.sent("a", 1, now=0.0)
    hints.sent("a", 1, now=2.0)
    assert not hints.unanswered(2.0)
    assert not hints.unanswered(2.0 + LONGEST_GAP + DEAF_AFTER)


@pytest.mark.parametrize("beat", [2.0, 25.0, 60.0])
def test_a_deaf_consumer_is_found_however_long_the_beat_is_and_each_repeat_has_its_time(beat: float) -> None:
    hints, looks = Hints(beat), [1000.0 + beat * n for n in range(30)]
    hints.sent("a", 1, now=looks[0])
    said = []
    for now in looks[1:]:
        for task_id in hints.overdue({"a": 1}, [], now):
            hints.sent(task_id, 1, now)
        said.append(hints.unanswered(now))
    assert said.index(True) >= 2
    assert all(said[said.index(True) :])


def test_a_body_that_came_in_and_failed_is_no_sign_of_deafness() -> None:
    hints = Hints(2.0)
    for at in range(0, 100, 2):
        hints.sent("poison", 1, now=float(at))
        hints.heard(["poison"])
    assert not hints.unanswered(100.0)


def test_a_worker_is_dead_only_after_its_lease_was_missing_all_along() -> None:
    absences = Absences(2.0)
    assert absences.dead(["w2", "w3"], ["w3"], now=0.0) == frozenset()
    assert absences.dead(["w2", "w3"], ["w3"], now=ADOPT_AFTER) == {"w2"}
    assert absences.dead(["w2", "w3"], ["w2", "w3"], now=ADOPT_AFTER + 1) == frozenset()
    assert absences.dead(["w2"], [], now=ADOPT_AFTER + 2) == frozenset()


def test_a_redis_outage_makes_nobody_dead() -> None:
    absences = Absences(2.0)
    absences.dead(["w2"], [], now=0.0)
    absences.forget()
    assert absences.dead(["w2"], [], now=ADOPT_AFTER + 1) == frozenset()


# --- what stays the same ----------------------------------------------------------------------------------------


def test_what_changes_is_alive_however_late_it_changes() -> None:
    watchman = Watchman(60.0, 2.0)
    for beat in range(100):
        assert watchman.unchanged({"n2": str(beat // 5)}, now=1000.0 + 10.0 * beat) == frozenset()


def test_what_has_not_changed_all_along_is_told() -> None:
    watchman = Watchman(60.0, 2.0)
    for at in range(1000, 1060, 2):
        assert watchman.unchanged({"n2": "7", "n3": str(at)}, now=float(at)) == frozenset()
    assert watchman.unchanged({"n2": "7", "n3": "new"}, now=1060.0) == {"n2"}


def test_what_was_not_watched_does_not_count() -> None:
    watchman = Watchman(60.0, 2.0)
    watchman.unchanged({"n2": "7"}, now=1000.0)
    assert watchman.unchanged({"n2": "7"}, now=1000.0 + LONGEST_GAP + 61.0) == frozenset()


@pytest.mark.parametrize("beat", [0.5, 2.0, 25.0, 60.0])
def test_who_falls_silent_is_told_however_long_the_beat_is_and_a_freeze_is_not_counted(beat: float) -> None:
    watchman, after = Watchman(3 * beat, beat), 3 * beat
    looks = [1000.0 + beat * n for n in range(5)]
    assert [watchman.unchanged({"n2": "7"}, now) == {"n2"} for now in looks] == [
        now - looks[0] >= after for now in looks
    ]
    assert watchman.unchanged({"n2": "7"}, looks[-1] + longest_gap(beat) + 1) == frozenset()


def test_an_attempt_is_fresh_only_as_long_as_nobody_takes_it_over() -> None:
    assert fresh_for(node_lost_after=60.0, beat=2.0) < ADOPT_AFTER
    assert fresh_for(node_lost_after=4.0, beat=0.5) == 3.5


def test_an_outage_of_redis_loses_nobody() -> None:
    watchman = Watchman(10.0, 2.0)
    watchman.unchanged({"n2": "7"}, now=1000.0)
    watchman.forget()
    assert watchman.unchanged({"n2": "7"}, now=1011.0) == frozenset()


def test_what_went_away_and_came_back_is_watched_anew() -> None:
    watchman = Watchman(10.0, 2.0)
    watchman.unchanged({"w2": ""}, now=1000.0)
    watchman.unchanged({}, now=1005.0)
    assert watchman.unchanged({"w2": ""}, now=1011.0) == frozenset()


def test_a_lost_job_that_was_asked_to_stop_is_stopped() -> None:
    assert lost_outcome(job(node="n2", stop_grace=1.0), 60).cause is Cause.CANCELLED
    lost = lost_outcome(job(node="n2"), 60)
    assert (lost.cause, lost.evidence) == (Cause.NODE_LOST, "node n2 was not heard of for 60 s")
