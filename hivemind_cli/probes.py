"""Does a service answer? Each question in a few bytes over a plain socket, so that asking costs no library.

The supervisor lives as long as the node and asks only while something starts: grpc, redis and an HTTP client would
cost it forty megabytes for that. Every probe raises NotReady, within its timeout, or returns.
"""

from __future__ import annotations

import json
import socket
import struct
from contextlib import closing
from typing import Any

TIMEOUT = 2.0


class NotReady(Exception):
    """It does not answer, or says that it is not ready; the text says which."""


def _connect(address: str | tuple[str, int], timeout: float) -> socket.socket:
    """A path is a Unix socket. A wildcard address is asked at loopback."""
    try:
        if isinstance(address, str):
            unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            unix.settimeout(timeout)
            try:
                unix.connect(address)
            except BaseException:
                unix.close()
                raise
            return unix
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}.get(address[0], address[0])  # noqa: S104
        return socket.create_connection((host.strip("[]"), address[1]), timeout)
    except OSError as error:
        raise NotReady(f"{address}: {error.strerror or error}") from None


def redis_ping(address: str | tuple[str, int], timeout: float = TIMEOUT) -> None:
    """PING, by RESP. While Redis loads its data it answers -LOADING, which is not ready."""
    with closing(_connect(address, timeout)) as connection:
        try:
            connection.sendall(b"*1\r\n$4\r\nPING\r\n")
            answer = connection.recv(256)
        except OSError as error:
            raise NotReady(f"redis: {error}") from None
    # A server that wants a password is up, and does not tell strangers more.
    if not answer.startswith((b"+PONG", b"-NOAUTH")):
        raise NotReady(f"redis: {answer.decode(errors='replace').strip() or 'closed the connection'}")


def http_get(address: tuple[str, int], path: str, timeout: float = TIMEOUT) -> tuple[int, bytes]:
    """(status, body) of a GET. HTTP/1.0, so that the body simply ends with the connection."""
    request = f"GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: */*\r\n\r\n".encode("ascii")
    answer = bytearray()
    with closing(_connect(address, timeout)) as connection:
        try:
            connection.sendall(request)
            while data := connection.recv(65536):
                answer += data
        except OSError as error:
            raise NotReady(f"{path}: {error}") from None
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        raise NotReady(f"{path}: this is not HTTP")
    return int(words[1]), body


def http_ok(address: tuple[str, int], path: str, timeout: float = TIMEOUT) -> None:
    """A GET that answers 200."""
    status, _ = http_get(address, path, timeout)
    if status != 200:
        raise NotReady(f"{path} answered {status}")


def http_json(address: tuple[str, int], path: str, timeout: float = TIMEOUT) -> Any:
    """The JSON document at a path, whatever its status: a health report comes with 503."""
    status, body = http_get(address, path, timeout)
    try:
        return json.loads(body)
    except ValueError:
        raise NotReady(f"{path} answered {status} and no JSON") from None


# --- grpc.health.v1.Health/Check by hand: RFC 9113 frames, RFC 7541 literals without an index ----------------

_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _END_HEADERS, _ACK = 0x1, 0x4, 0x1
#: grpc.health.v1.HealthCheckResponse{status: SERVING}
_SERVING = b"\x08\x01"


def grpc_serving(address: tuple[str, int], timeout: float = TIMEOUT) -> None:
    """The standard health check of a gRPC server, without TLS, for the server as a whole."""
    with closing(_connect(address, timeout)) as connection:
        try:
            connection.sendall(_health_request(f"{address[0]}:{address[1]}"))
            body = _unary_body(connection)
        except (OSError, EOFError) as error:
            raise NotReady(f"bridge: {error}") from None
    if body != _SERVING:
        raise NotReady("bridge: not serving")


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _literal(name: bytes | int, value: str) -> bytes:
    """One header: a name of the static table by its number (below 15), or spelt out."""
    raw = value.encode("ascii")
    start = bytes([name]) if isinstance(name, int) else b"\x00" + bytes([len(name)]) + name
    return start + bytes([len(raw)]) + raw


def _health_request(authority: str) -> bytes:
    headers = (
        b"\x83\x86"  # :method POST, :scheme http
        + _literal(4, "/grpc.health.v1.Health/Check")  # :path
        + _literal(1, authority[:120])  # :authority
        + _literal(b"content-type", "application/grpc")
        + _literal(b"te", "trailers")
    )
    return (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        + _frame(_SETTINGS, 0, 0)
        + _frame(_HEADERS, _END_HEADERS, 1, headers)
        + _frame(_DATA, _END_STREAM, 1, b"\x00" + struct.pack(">I", 0))
    )


def _unary_body(connection: socket.socket) -> bytes:
    """The one message of the answer; b'' when there is none."""
    body = bytearray()
    while True:
        head = _exactly(connection, 9)
        length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
        payload = _exactly(connection, length)
        if kind == _SETTINGS and not flags & _ACK:
            connection.sendall(_frame(_SETTINGS, _ACK, 0))
        elif kind == _PING and not flags & _ACK:
            connection.sendall(_frame(_PING, _ACK, 0, payload))
        elif kind in (_RST, _GOAWAY):
            return b""
        elif kind == _DATA:
            body += payload
            if len(body) >= 5 and len(body) >= 5 + int.from_bytes(body[1:5], "big"):
                return bytes(body[5:])
        if kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            return b""


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise EOFError("closed the connection")
        data += more
    return bytes(data)
