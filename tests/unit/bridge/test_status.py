"""Errors on the wire: each of the house's has its code, and nothing else gets out."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import grpc
import pytest
import structlog
from google.rpc import error_details_pb2, status_pb2

from bridge.status import Leaving, NotReady, Silent, refusal
from hivemind_worker.domain import errors

Code = grpc.StatusCode

EXPECTED = [
    (errors.InvalidField("requests.cpu", "too much"), Code.INVALID_ARGUMENT),
    (errors.BundleRefused("../x: leaves the workspace"), Code.INVALID_ARGUMENT),
    (errors.AlreadyExists(), Code.ALREADY_EXISTS),
    (errors.NotFound(), Code.NOT_FOUND),
    (errors.NeverFits(), Code.FAILED_PRECONDITION),
    (NotReady(), Code.FAILED_PRECONDITION),
    (errors.QueueFull(), Code.RESOURCE_EXHAUSTED),
    (errors.TooFast("slowly", 1.5), Code.RESOURCE_EXHAUSTED),
    (errors.DiskExhausted(), Code.RESOURCE_EXHAUSTED),
    (OSError(errno.ENOSPC, "No space left on device"), Code.RESOURCE_EXHAUSTED),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), Code.RESOURCE_EXHAUSTED),
    (errors.StoreUnavailable(), Code.UNAVAILABLE),
    (errors.EngineUnavailable(), Code.UNAVAILABLE),
    (Leaving(), Code.UNAVAILABLE),
    (Silent(), Code.UNAVAILABLE),
]


@pytest.fixture
def logged() -> Iterator[list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.mark.parametrize(("error", "code"), EXPECTED, ids=[type(error).__name__ for error, _ in EXPECTED])
def test_an_expected_error_has_its_code_and_its_own_words(
    error: Exception, code: grpc.StatusCode, logged: list[structlog.typing.EventDict]
) -> None:
    answer = refusal(error)
    assert answer.code is code
    assert answer.message
    assert logged == []


@pytest.mark.parametrize("error", [KeyError("secret"), OSError(errno.EIO, "secret"), errors.HiveMindError("secret")])
def test_an_unforeseen_error_is_logged_under_the_reference_that_the_caller_gets(
    error: Exception, logged: list[structlog.typing.EventDict]
) -> None:
    answer = refusal(error)
    assert answer.code is Code.INTERNAL
    assert "secret" not in answer.message
    assert logged[0]["reference"] in answer.message
    assert logged[0]["exc_info"] is error


@pytest.mark.parametrize(
    ("error", "field"), [(errors.InvalidField("env", "bad"), "env"), (errors.BundleRefused("bad"), "bundle")]
)
def test_the_field_to_blame_travels_as_a_bad_request(error: Exception, field: str) -> None:
    answer = refusal(error)
    ((key, raw),) = answer.trailers()
    status = status_pb2.Status.FromString(raw)
    bad = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(bad)
    assert key == "grpc-status-details-bin"
    assert status.code == Code.INVALID_ARGUMENT.value[0]
    assert status.message == answer.message
    assert [(violation.field, violation.description) for violation in bad.field_violations] == [(field, "bad")]


def test_however_long_an_error_is_its_trailers_stay_small() -> None:
    answer = refusal(errors.InvalidField("env." + "é" * 300_000, "\ud800" + "é" * 300_000))
    assert len(answer.message.encode()) * 3 + len(answer.trailers()[0][1]) < 12_000
    assert len(answer.message) < 1000


def test_a_caller_that_is_only_too_early_is_told_when_to_come_again() -> None:
    told = refusal(errors.TooFast("slowly", 1.2345))
    (_, packed), *_ = told.trailers()
    info = error_details_pb2.RetryInfo()
    assert status_pb2.Status.FromString(packed).details[0].Unpack(info)
    assert info.retry_delay.ToMilliseconds() == 1235
