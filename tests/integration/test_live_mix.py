"""Small and node-filling jobs mixed on a real node: caps and reservations hold, seen from outside."""

from __future__ import annotations

from bench.live import Mix, failures, measure


def test_caps_and_reservations_hold_while_small_and_node_filling_jobs_are_mixed() -> None:
    # Limits beyond what any load of the machine makes of a second's work: a declared end that holds is not under test.
    result = measure(Mix(small=60, large=3, alone=0, patience=20))
    assert failures(result) == []
    assert result["promises_the_node_broke"] == 0
    assert result["moments"] > 63, "each container's making, and ends"
    assert result["promised"] > 0, "no large job waited long enough to be promised anything"
    assert result["most"]["memory"] > 0
