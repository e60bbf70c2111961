"""gRPC options and sizes that both sides of the border share."""

from __future__ import annotations

from typing import Final

Options = list[tuple[str, int | str]]

#: most bytes in one message, either way
MAX_MESSAGE: Final = 8 * 1024 * 1024
#: bytes of bundle or artifact in one message: between 256 KiB and 1 MiB carries about 1 GB/s on loopback
CHUNK: Final = 512 * 1024
#: metadata that a bridge sends as soon as a followed log's stream is open: the log itself may be silent for hours
OPENED: Final = ("hivemind-stream", "open")
#: most RPCs at once, followers included; what comes above it is told RESOURCE_EXHAUSTED
MAX_CALLS: Final = 8192

_KEEPALIVE: Final[Options] = [
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
]


def server_options() -> Options:
    """For the server. A second server on the same port must fail, so SO_REUSEPORT is off."""
    return [
        *_KEEPALIVE,
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_permit_without_calls", 1),
        # Clients ping every 20 s; without this the server calls that abuse and hangs up.
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.http2.max_ping_strikes", 3),
    ]


def channel_options() -> Options:
    """For a client. Pings only while a call is open, so that an idle client costs a node nothing."""
    return [
        *_KEEPALIVE,
        ("grpc.keepalive_permit_without_calls", 0),
        # A follower that lost its bridge should find the restarted one soon.
        ("grpc.initial_reconnect_backoff_ms", 100),
        # Also the time a connect may take: a bridge that is busy for a moment is not away.
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 2_000),
        # On loopback a proxy from the environment only breaks things; nodes are reached directly.
        ("grpc.enable_http_proxy", 0),
    ]


def endpoint(host: str, port: int) -> str:
    """host and port in gRPC's spelling: IPv6 in brackets, unix sockets without a port."""
    if host.startswith("unix:"):
        return host
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
