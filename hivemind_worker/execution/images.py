"""The image of a job: found on the node or fetched by the node's policy, or refused in words that say what to do."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable, Iterator
from typing import Literal

from hivemind_worker.domain.errors import EngineUnavailable, ImageRefused
from hivemind_worker.execution.engine import Engine
from hivemind_worker.execution.found import ImageInfo
from hivemind_worker.execution.handle import Handle
from hivemind_worker.execution.patience import check, patiently
from hivemind_worker.execution.text import one_line
from hivemind_worker.execution.wire import EngineRefused, EngineStream

Policy = Literal["missing", "always", "never"]

#: what registries and resolvers say when they cannot be reached, in the engine's words
_UNREACHABLE = (
    "no such host", "connection refused", "i/o timeout", "network is unreachable", "no route to host",
    "tls handshake", "request canceled", "server misbehaving", "deadline exceeded", "connection reset",
    "temporary failure", "proxyconnect", "x509", "eof",
)  # fmt: skip
_UNKNOWN = ("not found", "manifest unknown", "pull access denied", "does not exist", "unauthorized", "denied")
_PLATFORM = ("no matching manifest", "does not match the specified platform", "no match for platform")


def ensure_image(engine: Engine, reference: str, policy: Policy, timeout: float, handle: Handle) -> ImageInfo:
    """The image, fetched first if need be within `timeout` seconds. An engine that is away is waited for.

    Raises ImageRefused, EngineRefused, Detached, StoppedEarly.
    """
    if policy != "always" or not may_be_pulled(reference):
        info = patiently(handle, lambda: engine.image(reference))
        if info is not None:
            return info
        if not may_be_pulled(reference):
            raise ImageRefused(
                f"image {reference} is not on this node, and names under localhost/ are never pulled: "
                "build it on the node, or load it with `docker load`"
            )
        if policy == "never":
            raise ImageRefused(
                f"image {reference} is not on this node, and this node pulls none (HIVEMIND_PULL=never): "
                "build it on the node, or load it with `docker load`"
            )
    return patiently(handle, lambda: _fetch(engine, reference, timeout, handle))


def may_be_pulled(reference: str) -> bool:
    """Whether a registry may be asked for it; `localhost/…` marks images that were built here."""
    return not reference.startswith("localhost/")


def split_reference(reference: str) -> tuple[str, str]:
    """'registry:5000/a/b:tag' → its repository and its tag or digest; the tag 'latest' where there is none."""
    name, at, digest = reference.partition("@")
    if at:
        return name, digest
    head, colon, tag = name.rpartition(":")
    if colon and "/" not in tag:
        return head, tag
    return name, "latest"


def _fetch(engine: Engine, reference: str, timeout: float, handle: Handle) -> ImageInfo:
    deadline = time.monotonic() + timeout
    repository, tag = split_reference(reference)
    stream = None
    try:
        stream = engine.pull(repository, tag, lambda fd: _await(fd, handle, deadline, reference))
        for line in _lines(stream, lambda fd: _await(fd, handle, deadline, reference)):
            _check_line(reference, line)
    except EngineRefused as refused:
        raise ImageRefused(explain(reference, refused.words)) from None
    finally:
        if stream is not None:
            stream.close()  # the engine gives up a pull that nobody listens to
    info = engine.image(reference, fresh=True)
    if info is None:
        raise EngineUnavailable(f"the pull of {reference} broke off")
    return info


def _await(fd: int, handle: Handle, deadline: float, reference: str) -> None:
    """Until `fd` is readable. Raises Detached, StoppedEarly, ImageRefused."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.register(handle.fileno(), select.POLLIN)
    while True:
        check(handle)
        left = deadline - time.monotonic()
        if left <= 0:
            raise ImageRefused(f"image {reference} did not arrive in time (HIVEMIND_PULL_TIMEOUT)")
        ready = {number for number, _ in poll.poll(left * 1000)}
        if handle.fileno() in ready:
            handle.drain()
        elif fd in ready:
            return


def _lines(stream: EngineStream, await_data: Callable[[int], None]) -> Iterator[bytes]:
    buffer, rest = memoryview(bytearray(64 * 1024)), b""
    while True:
        await_data(stream.fileno())
        count = stream.read_into(buffer)
        if count == 0:
            break
        *lines, rest = (rest + bytes(buffer[: count or 0])).split(b"\n")
        yield from lines
    if rest.strip():
        yield rest


def _check_line(reference: str, line: bytes) -> None:
    try:
        said = json.loads(line)
    except ValueError:
        return  # a line cut off by an engine that went away: the image's absence tells
    if isinstance(said, dict) and (error := said.get("error")):
        raise ImageRefused(explain(reference, str(error)))


def explain(reference: str, words: str) -> str:
    """The engine's words about a failed pull → what happened and what to do."""
    words = one_line(words)
    lowered = words.lower()
    if any(sign in lowered for sign in _PLATFORM):
        return f"image {reference} has no variant for this node's platform ({words})"
    if any(sign in lowered for sign in _UNREACHABLE):
        return (
            f"image {reference} is not on this node and its registry cannot be reached ({words}): "
            "load it with `docker load`, or try again when the registry answers"
        )
    if any(sign in lowered for sign in _UNKNOWN):
        return f"image {reference} is unknown: not on this node, and its registry does not offer it ({words})"
    return f"image {reference} cannot be pulled ({words})"
