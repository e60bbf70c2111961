"""Errors as the wire says them: one table from ours to gRPC's codes, with the field to blame beside it."""

from __future__ import annotations

import errno
import math
from dataclasses import dataclass
from uuid import uuid4

import grpc
import structlog
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from hivemind_worker.domain.errors import (
    AlreadyExists,
    BundleRefused,
    DiskExhausted,
    EngineUnavailable,
    HistoryUnavailable,
    HiveMindError,
    InvalidField,
    NeverFits,
    NotFound,
    QueueFull,
    StoreUnavailable,
    TooFast,
)

log = structlog.get_logger()


class NotReady(HiveMindError):
    """The job is not in a state for this call."""

    code = "not_ready"


class Leaving(HiveMindError):
    """The bridge is going away; ask again in a moment."""

    code = "leaving"


class Silent(HiveMindError):
    """The other side sent nothing for too long."""

    code = "silent"


Code = grpc.StatusCode

CODES: dict[type[HiveMindError], grpc.StatusCode] = {
    InvalidField: Code.INVALID_ARGUMENT,
    BundleRefused: Code.INVALID_ARGUMENT,
    AlreadyExists: Code.ALREADY_EXISTS,
    NotFound: Code.NOT_FOUND,
    NeverFits: Code.FAILED_PRECONDITION,
    NotReady: Code.FAILED_PRECONDITION,
    QueueFull: Code.RESOURCE_EXHAUSTED,
    DiskExhausted: Code.RESOURCE_EXHAUSTED,
    StoreUnavailable: Code.UNAVAILABLE,
    HistoryUnavailable: Code.UNAVAILABLE,
    EngineUnavailable: Code.UNAVAILABLE,
    Leaving: Code.UNAVAILABLE,
    Silent: Code.UNAVAILABLE,
}

# Status travels in trailers, which peers cap at 8 KiB, and percent-encoding may treble a message.
_MOST_MESSAGE = 900
_MOST_FIELD = 100
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the caller is told: a code, one sentence, and for a bad field its name."""

    code: grpc.StatusCode
    message: str
    field: str = ""
    description: str = ""
    #: seconds after which the same call may succeed; None: nobody knows
    retry_after: float | None = None

    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """google.rpc.Status with a BadRequest where a field is to blame, a RetryInfo where it is only too early."""
        detail = any_pb2.Any()
        if self.field:
            violation = error_details_pb2.BadRequest.FieldViolation(field=self.field, description=self.description)
            detail.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        elif self.retry_after is not None:
            info = error_details_pb2.RetryInfo()
            info.retry_delay.FromMilliseconds(math.ceil(self.retry_after * 1000))
            detail.Pack(info)
        else:
            return ()
        status = status_pb2.Status(code=self.code.value[0], message=self.message, details=[detail])
        return (("grpc-status-details-bin", status.SerializeToString()),)


def refusal(error: Exception) -> Refusal:
    """The wire's word for an error. Anything unforeseen is INTERNAL, with a reference into the log."""
    if isinstance(error, InvalidField):
        return Refusal(Code.INVALID_ARGUMENT, _short(str(error)), _field(error.field), _short(error.reason))
    if isinstance(error, BundleRefused):
        return Refusal(Code.INVALID_ARGUMENT, _short(f"bundle: {error}"), "bundle", _short(str(error)))
    if isinstance(error, TooFast):
        return Refusal(Code.RESOURCE_EXHAUSTED, _short(str(error)), retry_after=error.retry_after)
    for kind in type(error).__mro__:
        if kind in CODES:
            return Refusal(CODES[kind], _short(str(error)))
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return Refusal(Code.RESOURCE_EXHAUSTED, "the node's disk is full; free some space or send less")
    reference = uuid4().hex[:8]
    log.error("call failed", reference=reference, exc_info=error)
    return Refusal(Code.INTERNAL, f"the bridge failed; its log has the details under {reference}")


def _short(message: str) -> str:
    clean = message.encode("utf-8", "replace").decode()
    return clean if len(clean) <= _MOST_MESSAGE else clean[:_MOST_MESSAGE] + " …"


def _field(name: str) -> str:
    return _short(name)[:_MOST_FIELD]
