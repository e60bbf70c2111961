"""Celery's way to Redis, hardened: whoever can write to a queue can put there what is no message.

Kombu's own consumer raises on it, which ends the worker; a message it had begun with would end the next one too.
Only the reading side differs, and only where bad data was the reason.
"""

from __future__ import annotations

from queue import Empty
from typing import Any

import structlog
from celery.app.amqp import AMQP
from kombu import Connection
from kombu.transport import redis

log = structlog.get_logger()

#: what reading data raises that is not what the reader expects; never what Redis, or a pool that closes, raises
BAD_DATA = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def is_message(given: object) -> bool:
    """Whether it has the parts that kombu relies on before it calls a consumer."""
    if not isinstance(given, dict) or not isinstance(properties := given.get("properties"), dict):
        return False
    info = properties.get("delivery_info")
    return (
        isinstance(properties.get("delivery_tag"), str)
        and isinstance(info, dict)
        and all(isinstance(info.get(name), str) for name in ("exchange", "routing_key"))
        and isinstance(given.get("headers") or {}, dict)
    )


class TolerantChannel(redis.Channel):  # type: ignore[misc]
    """Drops what is not even JSON. Redis has given it away by then, so that there is nothing to settle."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except BAD_DATA as error:
            _dropped(error)
            raise Empty from None


class TolerantTransport(redis.Transport):  # type: ignore[misc]
    """Drops JSON that is no message, and a message that the consumer cannot read."""

    Channel = TolerantChannel

    def _deliver(self, message: Any, queue: Any) -> None:
        if not is_message(message):
            _dropped(None, queue)
            return
        try:
            super()._deliver(message, queue)
        except BAD_DATA as error:
            _dropped(error, queue)
            self._settle(message["properties"]["delivery_tag"])

    def _settle(self, tag: str) -> None:
        """Acknowledge it where it was noted as under way: it must not come back."""
        for channel in self.channels:
            try:
                channel.qos.get(tag)
            except KeyError:
                continue
            channel.basic_ack(tag)


class TolerantConnection(Connection):  # type: ignore[misc]
    """A connection whose transport, if it is Redis', is the tolerant one."""

    def get_transport_cls(self) -> Any:
        """The class by the URL's scheme, or ours in its place."""
        found = super().get_transport_cls()
        return TolerantTransport if found is redis.Transport else found


class TolerantAMQP(AMQP):  # type: ignore[misc]
    """What Celery asks for connections; an argument of the application."""

    Connection = TolerantConnection


def _dropped(error: BaseException | None, queue: str = "") -> None:
    """One line, without what was in it: it may hold secrets."""
    log.warning("dropped what is no message", queue=queue or None, error=type(error).__name__ if error else None)
