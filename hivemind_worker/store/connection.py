"""Connections to Redis: how they are made, how scripts run on them, and how their faults are named."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any

import redis
import structlog
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from hivemind_worker.domain.errors import StoreUnavailable

log = structlog.get_logger()

#: longest wait for the server's disk, milliseconds; below the socket's timeout
FLUSH_TIMEOUT_MS = 3000
#: keys or arguments of a script
Words = Sequence[str | bytes | int | float]
#: among a hash's fields: which of them are no text
DAMAGED = "\n"


_REFUSES_WRITES = re.compile(
    r"(?:^|caused error: )(?:-?)(MISCONF|OOM|LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|NOREPLICAS)\b"
)


def connect(url: str, *, timeout: float = 5.0) -> redis.Redis:
    """A client for `url` whose calls end within about twice `timeout` seconds. Connects at the first call.

    A pooled connection that died is replaced once: every script of ours is idempotent, so a repeat is safe.
    """
    return redis.Redis.from_url(
        url,
        socket_timeout=timeout,
        socket_connect_timeout=min(timeout, 2.0),
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.01), retries=1),
        health_check_interval=0,
    )


def prober(url: str, *, timeout: float = 1.0) -> Callable[[], bool]:
    """Whether Redis answers just now, asked over a connection of its own within about twice `timeout` seconds."""

    def answers() -> bool:
        with redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=None) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    return answers


@contextmanager
def named_faults() -> Iterator[None]:
    """Turn redis-py's ways of saying 'Redis is away' into StoreUnavailable."""
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError, redis.exceptions.BusyLoadingError) as error:
        raise StoreUnavailable(f"Redis does not answer: {error}") from error
    except redis.exceptions.ReadOnlyError as error:
        raise StoreUnavailable(f"Redis takes no writes: {error}") from error
    except redis.exceptions.OutOfMemoryError as error:
        raise StoreUnavailable(f"Redis is full: {error}") from error
    except redis.exceptions.ResponseError as error:
        # A pipeline puts its own words in front of the server's code.
        if _REFUSES_WRITES.search(str(error)):
            raise StoreUnavailable(f"Redis takes no writes: {error}") from error
        raise


@cache
def script_source(name: str) -> str:
    """The text of one script with what it shares with others in front of it."""
    folder = resources.files("hivemind_worker.store") / "scripts"
    parts = ["_lib", *(["_outbox"] if name.startswith("outbox_") else []), name]
    return "\n".join((folder / f"{part}.lua").read_text("utf-8") for part in parts)


@cache
def script_digest(name: str) -> str:
    """The name that the server gives the script: sha1 of its text."""
    return hashlib.sha1(script_source(name).encode(), usedforsecurity=False).hexdigest()


class Scripts:
    """Our scripts on one client, called by digest. A server that does not know one is taught it, then asked again.

    redis-py's own Script does the same, but asks before every pipeline which scripts are known: one round trip more
    for every assignment. `flush`: what is written with `lasting` is on the server's disk before the call returns.
    """

    def __init__(self, client: redis.Redis, *, flush: bool = False) -> None:
        self.client: Any = client
        self._flush = flush
        self._warned = False

    def run(self, name: str, keys: Words, args: Words, *, lasting: bool = False) -> Any:
        """Run one script. Raises StoreUnavailable."""
        answer = self.run_many(name, [(keys, args)], lasting=lasting)[0]
        if isinstance(answer, Exception):
            with named_faults():
                raise answer
        return answer

    def run_many(self, name: str, calls: Sequence[tuple[Words, Words]], *, lasting: bool = False) -> list[Any]:
        """Run one script several times in one round trip. An item that failed is its exception.

        `lasting` is waited for once for all of them; a disk that does not take it in time is StoreUnavailable.
        """
        with named_faults():
            answers = self._pipeline(name, calls, lasting=lasting)
            unknown = [i for i, answer in enumerate(answers) if isinstance(answer, redis.exceptions.NoScriptError)]
            if unknown:
                self.client.script_load(script_source(name))
                for i, answer in zip(
                    unknown, self._pipeline(name, [calls[i] for i in unknown], lasting=lasting), strict=True
                ):
                    answers[i] = answer
            return answers

    def _pipeline(self, name: str, calls: Sequence[tuple[Words, Words]], *, lasting: bool) -> list[Any]:
        digest = script_digest(name)
        pipe = self.client.pipeline(transaction=False)
        for keys, args in calls:
            pipe.execute_command("EVALSHA", digest, len(keys), *keys, *args)
        if not (lasting and self._flush):
            return list(pipe.execute(raise_on_error=False))
        pipe.execute_command("WAITAOF", 1, 0, FLUSH_TIMEOUT_MS)
        answers = list(pipe.execute(raise_on_error=False))
        self._check_flushed(answers.pop())
        return answers

    def _check_flushed(self, answer: Any) -> None:
        """Raises StoreUnavailable when the server has not written to its disk what it was given."""
        if isinstance(answer, Exception):
            # Before 7.2 the server's own appendfsync decides: with `always` it answers after the flush anyway. Without
            # an append-only file it keeps nothing, whatever is asked of it; health and doctor say so. That can be
            # switched on while it runs, so it is asked again.
            if "unknown command" in str(answer):
                self._flush = False
            elif "appendonly is disabled" not in str(answer):
                raise answer
            if not self._warned:
                self._warned = True
                log.warning("redis does not say when a write is on its disk", why=str(answer))
        elif int(answer[0]) < 1:
            raise StoreUnavailable(f"Redis' disk did not take a write within {FLUSH_TIMEOUT_MS / 1000:g} s")


def text(value: Any) -> str:
    """What Redis gave, as text. Bytes that are no UTF-8 become U+FFFD: whoever put them there, reading goes on."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def fields(reply: Any) -> dict[str, str]:
    """HGETALL's reply, as a dict or as the flat list a script returns, with text on both sides.

    Under DAMAGED stand the names of values that are no UTF-8, one in each line, if there are any.
    """
    if not isinstance(reply, dict):
        words = iter(reply)
        reply = dict(zip(words, words, strict=True))
    try:
        return {_strict(key): _strict(value) for key, value in reply.items()}
    except UnicodeDecodeError:
        damaged = sorted(text(key) for key, value in reply.items() if text(value).encode() != value)
        return {text(key): text(value) for key, value in reply.items()} | {DAMAGED: "\n".join(damaged)}


def _strict(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
