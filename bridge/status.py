"""Errors as the wire says them: one table from ours to gRPC's codes, and one guard for every RPC."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import grpc
import structlog
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from hivemind_worker.domain.errors import (
    AlreadyExists,
    BundleRefused,
    DiskExhausted,
    EngineUnavailable,
    HiveMindError,
    InvalidField,
    NeverFits,
    NotFound,
    QueueFull,
    StoreUnavailable,
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

    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """google.rpc.Status with a BadRequest, where a field is to blame."""
        if not self.field:
            return ()
        violation = error_details_pb2.BadRequest.FieldViolation(field=self.field, description=self.description)
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        status = status_pb2.Status(code=self.code.value[0], message=self.message, details=[detail])
        return (("grpc-status-details-bin", status.SerializeToString()),)


def refusal(error: Exception) -> Refusal:
    """The wire's word for an error. Anything unforeseen is INTERNAL, with a reference into the log."""
    if isinstance(error, InvalidField):
        return Refusal(Code.INVALID_ARGUMENT, _short(str(error)), _field(error.field), _short(error.reason))
    if isinstance(error, BundleRefused):
        return Refusal(Code.INVALID_ARGUMENT, _short(f"bundle: {error}"), "bundle", _short(str(error)))
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


class Guarded:
    """Stands for the server while services are added, and puts a guard around each of their RPCs.

    Whatever is raised leaves as a status of the contract's list, never as UNKNOWN. The guard parses the requests too,
    because a message that does not parse would else leave as UNKNOWN with Python's text. An interceptor would do the
    same work, but once more for every call.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Called by generated code; the next call brings the same handlers by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Called by generated code: one service's methods."""
        guarded = {name: _guard(handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, guarded),))


def _guard(handler: Any) -> Any:
    parse = handler.request_deserializer
    if handler.unary_unary:
        guarded = {"unary_unary": _single(handler.unary_unary, parse)}
    elif handler.unary_stream:
        guarded = {"unary_stream": _stream(handler.unary_stream, parse)}
    else:
        guarded = {"stream_unary": _upload(handler.stream_unary, parse)}
    return handler._replace(request_deserializer=None, **guarded)


def _parsed(parse: Callable[[bytes], Any], raw: bytes) -> Any:
    try:
        return parse(raw)
    except DecodeError:
        raise InvalidField("request", "is not a message of this call, or holds text that is not UTF-8") from None


async def _refuse(context: Any, error: Exception) -> None:
    answer = refusal(error)
    await context.abort(answer.code, answer.message, answer.trailers())


def _single(behaviour: Callable[..., Any], parse: Callable[[bytes], Any]) -> Callable[..., Any]:
    async def call(raw: bytes, context: Any) -> Any:
        try:
            return await behaviour(_parsed(parse, raw), context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the border: every error becomes a status here
            await _refuse(context, error)

    return call


def _upload(behaviour: Callable[..., Any], parse: Callable[[bytes], Any]) -> Callable[..., Any]:
    async def messages(raw: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for item in raw:
            yield _parsed(parse, item)

    async def call(raw: AsyncIterator[bytes], context: Any) -> Any:
        try:
            return await behaviour(messages(raw), context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the border: every error becomes a status here
            await _refuse(context, error)

    return call


def _stream(behaviour: Callable[..., Any], parse: Callable[[bytes], Any]) -> Callable[..., Any]:
    async def call(raw: bytes, context: Any) -> AsyncIterator[Any]:
        try:
            async for message in behaviour(_parsed(parse, raw), context):
                yield message
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 - the border: every error becomes a status here
            await _refuse(context, error)

    return call
