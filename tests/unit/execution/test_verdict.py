"""How a container's end becomes a cause."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.domain.outcome import Cause
from hivemind_worker.execution.verdict import Facts, decide

TINI = "[FATAL tini (7)] exec nope failed: No such file or directory\n"
PLAIN = Facts(exit_code=0, memory_cap=2**28, timeout=10.0, disk_cap=2**20)


def cause(**facts: object) -> Cause:
    return decide(replace(PLAIN, **facts))[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, Cause.OK),
        ({"exit_code": 1}, Cause.EXIT),
        ({"exit_code": 139}, Cause.EXIT),
        ({"exit_code": 137}, Cause.EXIT),
        ({"exit_code": 137, "oom_kills": 1}, Cause.OOM),
        ({"exit_code": 1, "oom_kills": 1}, Cause.OOM),
        ({"exit_code": 137, "engine_says_oom": True}, Cause.OOM),
        ({"exit_code": 0, "oom_kills": 1}, Cause.OK),
        ({"reason": "timeout"}, Cause.TIMEOUT),
        ({"exit_code": 137, "reason": "timeout", "oom_kills": 1}, Cause.TIMEOUT),
        ({"exit_code": 143, "reason": "stop"}, Cause.CANCELLED),
        ({"exit_code": 0, "reason": "stop"}, Cause.CANCELLED),
        ({"exit_code": 137, "reason": "disk"}, Cause.DISK),
        ({"exit_code": 1, "no_room": "its disk is full"}, Cause.INTERNAL),
        ({"exit_code": 0, "no_room": "its disk is full"}, Cause.OK),
        ({"exit_code": 137, "reason": "disk", "no_room": "its disk is full"}, Cause.DISK),
        ({"exit_code": 137, "oom_kills": 1, "no_room": "its disk is full"}, Cause.OOM),
        ({"exit_code": 137, "reason": "gpu_memory", "gpu_evidence": "seen"}, Cause.OOM),
        ({"exit_code": 143, "reason": "gpu_lost", "gpu_evidence": "seen"}, Cause.NODE_LOST),
        # a cancel that came after the program's own end
        ({"exit_code": 0, "stop_asked": True}, Cause.OK),
        ({"exit_code": 3, "stop_asked": True}, Cause.EXIT),
        # what a worker did that died before it could tell
        ({"exit_code": 143, "stop_asked": True}, Cause.CANCELLED),
        ({"exit_code": 143, "wall": 11.0}, Cause.TIMEOUT),
        ({"exit_code": 0, "wall": 11.0}, Cause.OK),
        ({"exit_code": 137, "stop_asked": True, "oom_kills": 1}, Cause.OOM),
        # the infrastructure
        ({"exit_code": 137, "gone": True}, Cause.ENGINE),
        ({"exit_code": None}, Cause.ENGINE),
        ({"exit_code": 255, "rebooted": True}, Cause.ENGINE),
        ({"exit_code": 137, "outage": True}, Cause.ENGINE),
        ({"exit_code": 0, "outage": True}, Cause.OK),
        ({"exit_code": 7, "outage": True}, Cause.EXIT),
        # requirements
        ({"exit_code": 1, "requirements": "failed"}, Cause.BUNDLE),
        ({"exit_code": 1, "requirements": "no-pip"}, Cause.BUNDLE),
        ({"exit_code": 0, "requirements": "failed"}, Cause.OK),
        ({"exit_code": 137, "requirements": "installing", "oom_kills": 1}, Cause.OOM),
        ({"exit_code": 1, "requirements": "installing"}, Cause.EXIT),
        # the init's complaint
        ({"exit_code": 127, "last_words": TINI, "all_words": True}, Cause.ENTRYPOINT),
        ({"exit_code": 127, "last_words": "hello\n" + TINI, "all_words": True}, Cause.EXIT),
        ({"exit_code": 127, "last_words": TINI, "all_words": True, "cpu_seconds": 5.0}, Cause.EXIT),
        ({"exit_code": 1, "last_words": TINI, "all_words": True}, Cause.EXIT),
        ({"exit_code": 2, "engine_ended_it": True}, Cause.ENGINE),
        ({"exit_code": 0, "engine_ended_it": True}, Cause.OK),
        ({"exit_code": 2, "engine_ended_it": True, "oom_kills": 1}, Cause.OOM),
        ({"exit_code": 2, "engine_ended_it": True, "reason": "stop"}, Cause.CANCELLED),
    ],
)
def test_the_cause_of_an_end(facts: dict[str, object], expected: Cause) -> None:
    assert cause(**facts) is expected


def test_evidence_carries_the_numbers() -> None:
    _, words = decide(replace(PLAIN, exit_code=137, reason="disk", disk_used=3 * 2**20))
    assert "3M (3145728 bytes), more than its disk of 1M" in words
    assert "SIGKILL" in words


@given(
    st.one_of(st.none(), st.integers(0, 255)),
    st.sampled_from([None, "stop", "timeout", "disk"]),
    st.integers(0, 2),
    st.booleans(),
    st.booleans(),
)
def test_every_end_has_one_cause_and_a_sentence(
    code: int | None, reason: str | None, kills: int, gone: bool, outage: bool
) -> None:
    facts = replace(PLAIN, exit_code=code, reason=reason, oom_kills=kills, gone=gone, outage=outage)  # type: ignore[arg-type]
    verdict, words = decide(facts)
    assert words
    assert "\n" not in words
    if verdict is Cause.OK:
        assert code == 0
        assert reason is None
