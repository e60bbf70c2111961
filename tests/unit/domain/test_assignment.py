"""An assignment is checked field by field; the complaint names the field."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.domain.assignment import Assignment, digest
from hivemind_worker.domain.errors import InvalidField
from tests.builders import assignment

GOOD: dict[str, Any] = {
    "task_id": "a",
    "image": "python:3.11",
    "requests": {"cpu": 1, "memory": 2**26, "disk": 2**24, "pids": 16},
    "timeout_seconds": 5,
}


def refused(**change: Any) -> InvalidField:
    with pytest.raises(InvalidField) as caught:
        Assignment.parse(GOOD | change)
    return caught.value


@pytest.mark.parametrize("task_id", ["", ".a", "-a", "a b", "a/b", "a\n", "ä", "a" * 65, "../x"])
def test_a_bad_task_id_is_named(task_id: str) -> None:
    assert refused(task_id=task_id).field == "task_id"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cpu", 0), ("cpu", -1), ("cpu", math.nan), ("cpu", math.inf), ("cpu", 1e9), ("cpu", "many"),
        ("memory", 0), ("memory", -5), ("memory", 1024), ("memory", 2**62), ("memory", math.inf),
        ("disk", 0), ("disk", -1), ("disk", 2**62), ("pids", 0), ("pids", -3), ("pids", 2**40),
        ("gpus", -1), ("gpus", 10**6), ("gpu_memory", -1), ("gpu_memory", math.nan),
    ],
)  # fmt: skip
def test_zero_negative_absurd_and_non_finite_resources_are_named(field: str, value: float) -> None:
    assert refused(requests=GOOD["requests"] | {field: value}).field == f"requests.{field}"


def test_memory_of_devices_without_devices_is_named() -> None:
    assert refused(requests=GOOD["requests"] | {"gpu_memory": 2**30}).field == "requests.gpu_memory"


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, 1e12])
def test_a_bad_timeout_is_named(value: float) -> None:
    assert refused(timeout_seconds=value).field == "timeout_seconds"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image", "UPPER:tag"), ("image", "a b"), ("image", "-x"), ("image", "x" * 600), ("image", ""),
        ("command", ["a\0b"]), ("command", [""]), ("command", ["x" * 200_000]),
        ("env", {"1A": "x"}), ("env", {"A=B": "x"}), ("env", {"A": "x\0"}), ("env", {"A": "x" * 300_000}),
        ("priority", 10), ("priority", -1), ("retries", -1),
        ("priority", True), ("priority", "5"), ("priority", 5.5), ("retries", True), ("retries", "2"),
        ("timeout_seconds", True), ("timeout_seconds", "60"), ("network", "host"), ("bundle_sha256", "xyz"),
        ("owner", "a\nb"), ("owner", "x" * 200), ("nonsense", 1),
    ],
)  # fmt: skip
def test_every_other_field_is_checked_and_named(field: str, value: Any) -> None:
    assert refused(**{field: value}).field.split(".")[0] == field


@pytest.mark.parametrize(
    "image",
    ["python", "python:3.11-slim", "localhost/hivemind-base:latest", "r.example:5000/a/b@sha256:" + "a" * 64],
)
def test_image_references_of_every_kind_are_accepted(image: str) -> None:
    assert Assignment.parse(GOOD | {"image": image}).image == image


def test_the_digest_tells_assignments_and_secrets_apart_but_depends_on_the_key() -> None:
    one, other = assignment().asked({"image": "x"}), assignment(image="other").asked({"image": "x"})
    assert digest(one, {"K": "v"}, b"k") == digest(dict(one), {"K": "v"}, b"k")
    assert digest(one, {"K": "v"}, b"k") != digest(one, {"K": "w"}, b"k")
    assert digest(one, {}, b"k") != digest(other, {}, b"k")
    assert digest(one, {}, b"k") != digest(one, {}, b"other")


def test_defaults_that_were_filled_in_are_no_part_of_what_was_asked_for() -> None:
    fields = {"task_id": "t1", "requests": {"cpu": 1.0}}
    assert assignment(priority=3).asked(fields) == {"task_id": "t1", "requests": {"cpu": 1.0}}


@pytest.mark.parametrize("field", ["command", "env"])
def test_text_that_is_no_unicode_is_named(field: str) -> None:
    assert refused(**{field: {"A": "\ud800"} if field == "env" else ["\ud800"]}).field == field


@given(st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z"))
def test_every_id_of_the_contract_is_accepted(task_id: str) -> None:
    assert Assignment.parse(GOOD | {"task_id": task_id}).task_id == task_id
