"""The guard around every RPC of ours: what is raised leaves as a status, what does not parse is the caller's fault."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from bridge.status import Leaving, refusal
from hivemind_worker.domain.errors import InvalidField

_Behaviour = Callable[..., Any]
_Parse = Callable[[bytes], Any]


class Guard:
    """Stands for the server while services are added, and puts the guard around each of their RPCs.

    Whatever is raised leaves as a status of the contract's list, never as UNKNOWN. The guard parses the requests too,
    because a message that does not parse would else leave as UNKNOWN with Python's text. An interceptor would do the
    same work, but once more for every call.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self._streams: set[asyncio.Task[Any]] = set()
        self._leaving = False

    def add_generic_rpc_handlers(self, handlers: object) -> None:
        """Called by generated code; the next call brings the same handlers by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Called by generated code: one service's methods."""
        guarded = {name: self._guarded(handler) for name, handler in handlers.items()}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, guarded),))

    def leave(self) -> None:
        """The bridge stops: tell every stream to come back later, where it was."""
        self._leaving = True
        for task in list(self._streams):
            task.cancel()

    def _guarded(self, handler: Any) -> Any:
        parse = handler.request_deserializer
        if handler.unary_unary:
            guarded = {"unary_unary": _unary(handler.unary_unary, parse)}
        elif handler.unary_stream:
            guarded = {"unary_stream": self._server_stream(handler.unary_stream, parse)}
        else:
            guarded = {"stream_unary": self._client_stream(handler.stream_unary, parse)}
        return handler._replace(request_deserializer=None, **guarded)

    def _client_stream(self, behaviour: _Behaviour, parse: _Parse) -> _Behaviour:
        async def messages(raw: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            async for item in raw:
                yield _parsed(parse, item)

        async def call(raw: AsyncIterator[bytes], context: Any) -> Any:
            try:
                with self._open_stream():
                    return await behaviour(messages(raw), context)
            except Exception as error:  # noqa: BLE001 - the border: every error becomes a status here
                await _refuse(context, error)

        return call

    def _server_stream(self, behaviour: _Behaviour, parse: _Parse) -> _Behaviour:
        async def call(raw: bytes, context: Any) -> AsyncIterator[Any]:
            try:
                with self._open_stream():
                    async for message in behaviour(_parsed(parse, raw), context):
                        yield message
            except Exception as error:  # noqa: BLE001 - the border: every error becomes a status here
                await _refuse(context, error)

        return call

    @contextlib.contextmanager
    def _open_stream(self) -> Iterator[None]:
        """Within it, `leave` ends the stream with Leaving. A client's own cancel goes through as it is."""
        task = asyncio.current_task()
        assert task is not None
        if self._leaving:
            raise Leaving
        self._streams.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._leaving:
                raise
            task.uncancel()
            raise Leaving from None
        finally:
            self._streams.discard(task)


def _unary(behaviour: _Behaviour, parse: _Parse) -> _Behaviour:
    async def call(raw: bytes, context: Any) -> Any:
        try:
            return await behaviour(_parsed(parse, raw), context)
        except Exception as error:  # noqa: BLE001 - the border: every error becomes a status here
            await _refuse(context, error)

    return call


def _parsed(parse: _Parse, raw: bytes) -> Any:
    try:
        return parse(raw)
    except DecodeError:
        raise InvalidField("request", "is not a message of this call, or holds text that is not UTF-8") from None


async def _refuse(context: Any, error: Exception) -> None:
    answer = refusal(error)
    await context.abort(answer.code, answer.message, answer.trailers())
