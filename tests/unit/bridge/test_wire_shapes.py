"""Plain data to messages and back: what a home view says, the wire says too."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.call_error import CallError
from bridge.messages import assignment_fields, node_message, task_message
from bridge.plain import assignment_message, plain
from hivemind_worker.domain.job import PastAttempt, Promised, State, Times, WaitingInfo, view
from hivemind_worker.domain.node import Gpu, node_view
from hivemind_worker.domain.outcome import BlobRef, Cause, LogInfo, Outcome, Usage
from tests.builders import assignment, job, node, row

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
BYTES = st.integers(min_value=0, max_value=2**63 - 1)
WHEN = st.integers(min_value=0, max_value=4_000_000_000_000)


@given(
    created=WHEN, started=st.none() | WHEN, text=TEXT, words=st.lists(TEXT, max_size=3),
    cause=st.sampled_from(Cause), code=st.none() | st.integers(min_value=-255, max_value=255), size=BYTES,
    seconds=st.floats(min_value=0, max_value=1e12), kept=st.booleans(),
)  # fmt: skip
def test_a_job_with_an_outcome_survives_the_wire(
    created: int, started: int | None, text: str, words: list[str], cause: Cause, code: int | None, size: int,
    seconds: float, kept: bool,
) -> None:  # fmt: skip
    outcome = Outcome(
        cause=cause, exit_code=code, evidence=f"seen: {text}", usage=Usage(cpu_seconds=seconds, memory_peak=size),
        artifact=BlobRef(sha256="a" * 64, size=size) if kept else None, log=LogInfo(bytes=size, truncated=kept),
    )  # fmt: skip
    spec = assignment(command=tuple(word.replace("\0", "") or "x" for word in words))
    ended = job(
        state=State(outcome.state), assignment=spec, attempt=1, node="n1", worker="w1", outcome=outcome,
        times=Times(created=created, started=started),
    )  # fmt: skip
    shown = view(ended)
    assert plain(task_message(shown)) == shown


@pytest.mark.parametrize(
    "info",
    [
        None,
        WaitingInfo(reason="because"),
        WaitingInfo(reason="because", position=1, eta_seconds=0.0),
        WaitingInfo(
            reason="because", kind="head", promise=Promised(task_id="a", node="n", at="2026-01-02T03:04:05.678Z")
        ),
    ],
)
def test_a_waiting_job_survives_the_wire(info: WaitingInfo | None) -> None:
    lost = (PastAttempt(attempt=1, node="n1", cause="node_lost"), PastAttempt(attempt=2, cause="exit", exit_code=1))
    shown = view(job(past=lost, failures=1, infra_failures=1), info)
    assert plain(task_message(shown)) == shown


def test_a_node_survives_the_wire() -> None:
    held = row(gpus=("g",), owner="ann", gpu_memory=2**30).model_copy(update={"deadline": 9_000, "expected": 8_000})
    shown = node_view(node(gpus=(Gpu(uuid="g", name="A card", memory=2**36),)), {"t1": held}, 3)
    assert shown["gpus"][0]["holders"] == [{"task_id": "t1", "owner": "ann", "memory": 2**30, "whole": False}]
    assert (shown["empty_by"], shown["empty_expected"]) == ("1970-01-01T00:00:09.000Z", "1970-01-01T00:00:08.000Z")
    assert plain(node_message(shown)) == shown


def test_a_field_that_the_message_lacks_is_an_error_and_not_lost() -> None:
    with pytest.raises(ValueError, match="surprise"):
        task_message(view(job()) | {"surprise": 1})


def test_a_zero_that_was_sent_is_told_from_nothing_sent() -> None:
    fields, _ = assignment_fields(assignment_message({"task_id": "t", "requests": {"gpus": 0, "cpu": None}}))
    assert fields["requests"] == {"gpus": 0}
    assert "priority" not in fields
    fields, _ = assignment_fields(assignment_message({"task_id": "t", "priority": 0, "timeout_seconds": 0.0}))
    assert (fields["priority"], fields["timeout_seconds"]) == (0, 0.0)


def test_what_was_not_sent_is_absent_so_that_the_same_job_has_the_same_digest_however_it_comes() -> None:
    assert assignment_fields(assignment_message({"task_id": "t", "retries": 0, "owner": "", "env": {}})) == (
        {"task_id": "t"},
        {},
    )


def test_secrets_travel_beside_the_fields() -> None:
    fields, secrets = assignment_fields(assignment_message({"task_id": "t", "env": {"A": "1"}, "secrets": {"B": "2"}}))
    assert (fields["env"], secrets) == ({"A": "1"}, {"B": "2"})
    assert "secrets" not in fields


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"surprise": 1}, "surprise"),
    ({"task_id": 7}, "task_id"),
    ({"command": "not a list"}, "command"),
    ({"priority": "high"}, "priority"),
    ({"priority": 2**40}, "priority"),
    ({"retries": 1.5}, "retries"),
    ({"env": {"A": 1}}, "env"),
    ({"requests": {"memory": 2**70}}, "requests"),
    ({"requests": {"memory": math.nan}}, "requests"),
    ({"requests": {"surprise": 1}}, "requests"),
    ({"requests": "lots"}, "requests"),
    ({"owner": "\ud800"}, "owner"),
]


@pytest.mark.parametrize(("fields", "field"), WRONG)
def test_a_field_of_the_wrong_kind_is_named_before_anything_is_sent(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(CallError) as caught:
        assignment_message({"task_id": "t"} | fields)
    assert (caught.value.code, caught.value.field) == ("INVALID_ARGUMENT", field)
