"""HTTP to the engine, by hand: answers that stream are sockets that can be waited on together with everything else.

Asked with HTTP/1.0: then the engine neither chunks the body nor keeps the connection, so the body is the stream itself
and its end is the end of the connection. docker-py opens a connection per call too (its pools are keyed by the whole
URL) and costs 1.5 ms of CPU for each; by hand a call costs 0.2 ms, and every fault is an OSError.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hivemind_worker.domain.errors import EngineUnavailable, EngineUnreachable, JobRefused, SettingsError
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.execution.text import one_line

DEFAULT_HOST = "unix:///var/run/docker.sock"
_MAX_HEAD = 64 * 1024
_MAX_ERROR = 64 * 1024
_PIECE = 64 * 1024
#: 304: it was started, or stopped, already
_NO_CONTENT = (204, 304)


class EngineRefused(JobRefused):
    """The container engine refused a call."""

    code = "engine_refused"
    cause = Cause.ENGINE

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"the container engine refused: {one_line(message)}")
        self.status = status
        self.words = message


@dataclass(frozen=True, slots=True)
class Address:
    """Where the engine listens: the path of a Unix socket, or a host and a port."""

    url: str
    path: str = ""
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, url: str | None) -> Address:
        """DOCKER_HOST → address. Raises SettingsError for a kind of engine that jobs cannot run on."""
        text = url or DEFAULT_HOST
        parts = urlsplit(text)
        if parts.scheme in ("unix", "http+unix") and (parts.netloc + parts.path).startswith("/"):
            return cls(url=f"unix://{parts.path}", path=parts.path)
        if parts.scheme == "tcp" and parts.hostname and not os.environ.get("DOCKER_TLS_VERIFY"):
            port = parts.port or 2375
            return cls(url=f"tcp://{parts.hostname}:{port}", host=parts.hostname, port=port)
        raise SettingsError(
            f"HIVEMIND_DOCKER_HOST: {text!r} is no engine that shares this machine's files; "
            "use unix:///path/to/docker.sock, or tcp://host:port without TLS"
        )

    def connect(self, timeout: float) -> socket.socket:
        """A connected socket. Raises OSError."""
        if not self.path:
            return socket.create_connection((self.host, self.port), timeout)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout)
            sock.connect(self.path)
        except OSError:
            sock.close()
            raise
        return sock


class EngineStream:
    """The body of one streaming answer. Owned by one thread; to be closed by it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.setblocking(False)

    def fileno(self) -> int:
        """For select."""
        return self._sock.fileno()

    def read_into(self, buffer: memoryview) -> int | None:
        """Bytes read; 0 at the end, None when there is nothing yet. Raises EngineUnavailable."""
        try:
            return self._sock.recv_into(buffer)
        except BlockingIOError:
            return None
        except OSError as error:
            raise EngineUnavailable(f"the engine's stream broke: {error}") from error

    def peer(self) -> int:
        """The number of the process at the other end as it was when this was opened; 0 where that cannot be known."""
        return peer_of(self._sock)

    def close(self) -> None:
        """Give the connection back."""
        self._sock.close()


def peer_of(sock: socket.socket) -> int:
    """The process that listens at the other end; 0 over TCP."""
    if sock.family != socket.AF_UNIX:
        return 0
    said = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", said)[0])


def call(address: Address, method: str, path: str, body: Any = None, *, timeout: float) -> Any:
    """One plain call: its answer's JSON, None where it has no content. `timeout` in seconds for each step.

    Raises EngineUnavailable, EngineRefused.
    """
    status, data = _answer(address, method, path, body, timeout)
    if status in _NO_CONTENT:
        return None
    try:
        return json.loads(data)
    except ValueError:
        raise EngineUnavailable("the engine broke off its answer") from None


def call_for_lines(address: Address, path: str, *, timeout: float) -> list[Any]:
    """One call that gives a list of unknown length: each line's JSON. Raises EngineUnavailable, EngineRefused.

    An engine that dies in the middle gives a shorter one: whoever counts on its end must ask whether it still lives.
    """
    try:
        return [json.loads(line) for line in _answer(address, "GET", path, None, timeout)[1].splitlines()]
    except ValueError:
        raise EngineUnavailable("the engine broke off its answer") from None


def _answer(address: Address, method: str, path: str, body: Any, timeout: float) -> tuple[int, bytes]:
    with _asked(address, method, path, body=body, timeout=timeout) as (sock, status):
        return status, b"".join(iter(lambda: sock.recv(_PIECE), b""))


def open_stream(
    address: Address,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float,
    await_head: Callable[[int], None] | None = None,
) -> EngineStream:
    """Send one request and read the answer's head. `timeout` in seconds for each step.

    `await_head` gets the socket's number and returns once it is readable: for calls that think long before they answer.
    Raises EngineUnavailable, EngineRefused.
    """
    with _asked(address, method, path, headers=headers, timeout=timeout, await_head=await_head) as (sock, _):
        return EngineStream(sock.dup())


@contextmanager
def _asked(
    address: Address,
    method: str,
    path: str,
    *,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    timeout: float,
    await_head: Callable[[int], None] | None = None,
) -> Iterator[tuple[socket.socket, int]]:
    """A connection whose answer's head was read, its status no refusal; and our names for its faults."""
    payload = b"" if body is None else json.dumps(body).encode()
    given = {"Host": "docker", "Content-Length": str(len(payload)), **(headers or {})}
    if payload:
        given["Content-Type"] = "application/json"
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    try:
        connected = address.connect(timeout)
    except OSError as error:
        raise EngineUnreachable(f"the engine at {address.url} does not answer: {error}") from error
    try:
        with connected as sock:
            sock.sendall(f"{method} {path} HTTP/1.0\r\n{head}\r\n".encode("ascii") + payload)
            if await_head is not None:
                await_head(sock.fileno())
            status = _status(_read_head(sock))
            if status >= 400:
                raise refusal(status, _read_error(sock))
            yield sock, status
    except OSError as error:
        raise EngineUnavailable(f"the engine at {address.url} does not answer: {error}") from error


def _read_head(sock: socket.socket) -> bytes:
    """The answer's head, and not a byte more: what follows is the stream's."""
    head = b""
    while True:
        seen = sock.recv(_MAX_HEAD, socket.MSG_PEEK)
        if not seen:
            raise EngineUnavailable("the engine closed the connection before it answered")
        end = (head + seen).find(b"\r\n\r\n")
        take = len(seen) if end < 0 else end + 4 - len(head)
        head += sock.recv(take)
        if end >= 0:
            return head
        if len(head) > _MAX_HEAD:
            raise EngineUnavailable("the engine's answer is not HTTP")


def _status(head: bytes) -> int:
    words = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise EngineUnavailable("the engine's answer is not HTTP")
    return int(words[1])


def _read_error(sock: socket.socket) -> str:
    body = b""
    while len(body) < _MAX_ERROR and (data := sock.recv(4096)):
        body += data
    text = body.decode("utf-8", "replace").strip()
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text[:1000] or "it gave no reason"


def refusal(status: int, message: str) -> EngineRefused | EngineUnavailable:
    """The error for an answer of 400 or more: a gateway that has no engine behind it is an engine away."""
    if status in (502, 503, 504):
        return EngineUnavailable(f"the engine is away: {message}")
    return EngineRefused(status, message)
