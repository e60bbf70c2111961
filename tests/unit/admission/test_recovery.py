"""Hints that went unheard are sent again; silence that lasts means deafness."""

from __future__ import annotations

from hivemind_worker.admission.recovery import ADOPT_AFTER, DEAF_AFTER, Absences, Hints


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


def test_silence_is_deafness_only_after_repeats_and_a_long_time() -> None:
    hints = Hints(2.0)
    hints.sent("a", 1, now=0.0)
    assert not hints.unanswered(DEAF_AFTER + 1)
    hints.sent("a", 1, now=5.0)
    assert not hints.unanswered(DEAF_AFTER)
    assert hints.unanswered(DEAF_AFTER + 1)
    hints.overdue({"a": 1}, ["a"], now=DEAF_AFTER + 2)
    assert not hints.unanswered(DEAF_AFTER + 3)


def test_a_body_that_came_in_and_failed_is_no_sign_of_deafness() -> None:
    hints = Hints(2.0)
    for at in range(0, 100, 2):
        hints.sent("poison", 1, now=float(at))
        hints.heard(["poison"])
    assert not hints.unanswered(100.0)


def test_a_worker_is_dead_only_after_its_lease_was_missing_all_along() -> None:
    absences = Absences()
    assert absences.dead(["w2", "w3"], ["w3"], now=0.0) == frozenset()
    assert absences.dead(["w2", "w3"], ["w3"], now=ADOPT_AFTER) == {"w2"}
    assert absences.dead(["w2", "w3"], ["w2", "w3"], now=ADOPT_AFTER + 1) == frozenset()
    assert absences.dead(["w2"], [], now=ADOPT_AFTER + 2) == frozenset()


def test_a_redis_outage_makes_nobody_dead() -> None:
    absences = Absences()
    absences.dead(["w2"], [], now=0.0)
    absences.forget()
    assert absences.dead(["w2"], [], now=ADOPT_AFTER + 1) == frozenset()
