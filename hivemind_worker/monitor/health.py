"""Is this node well: one check per part, run side by side, each with a deadline."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from anyio import CapacityLimiter, to_thread

from hivemind_worker.admission.devices import out_of_service
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import HistoryUnavailable, HiveMindError
from hivemind_worker.domain.node import Node, NodeState
from hivemind_worker.domain.resources import format_size
from hivemind_worker.monitor.outboxes import Outboxes, finding
from hivemind_worker.settings import Settings
from hivemind_worker.store.connection import named_faults

#: seconds after which a part that does not answer counts as failed
DEADLINE = 2.0
#: the same for parts that the node can do without
SHORT_DEADLINE = 1.5
DEFAULT_ENGINE = "unix:///var/run/docker.sock"

T = TypeVar("T")
Status = Literal["ok", "degraded", "fail", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """What one check found, in a sentence; `warnings`: what is well and yet not as it should be."""

    status: Status
    detail: str
    warnings: tuple[str, ...] = ()


class Failed(Exception):
    """A check's finding that something is wrong."""


class Degraded(Exception):
    """A check's finding that something is wrong which the node can do without for a while."""


class NotSeen(Exception):
    """The part cannot be seen from this process; says nothing about the part."""


class Health:
    """The node's checks. Its threads are its own, so that a stuck store does not silence it."""

    def __init__(self, settings: Settings, stores: Stores) -> None:
        self._settings = settings
        self._stores = stores
        self._threads = CapacityLimiter(8)
        self._outboxes = Outboxes(settings, stores)

    async def run(self) -> dict[str, Check]:
        """Every check by name."""
        checks: dict[str, Callable[[], Awaitable[Check]]] = {
            "redis": self._redis,
            "docker": self._docker,
            "worker": self._worker,
            "gpu": self._gpu,
            "bridge": self._bridge,
            "disk": self._disk,
            "history": self._history,
        }
        if self._outboxes.reports:
            checks["master"] = self._master
        found = await asyncio.gather(*(_bounded(check) for check in checks.values()))
        return dict(zip(checks, found, strict=True))

    async def _redis(self) -> Check:
        def ping() -> float:
            started = perf_counter()
            with named_faults():
                self._stores.redis.ping()
            return perf_counter() - started

        answers = f"answers in {await self._in_thread(ping) * 1000:.1f} ms"
        aside = await self._in_thread(self._stores.audit.quarantined)
        notes = []
        if not await self._in_thread(self._stores.audit.keeps_file):
            notes.append("it keeps no append-only file: when it restarts, every job is forgotten")
        if aside:
            notes.append("1 damaged thing put aside" if aside == 1 else f"{aside} damaged things put aside")
        return Check("ok", "; ".join([answers, *notes]), tuple(notes))

    async def _docker(self) -> Check:
        if not self._settings.docker_enabled:
            return Check("skipped", "switched off by HIVEMIND_DOCKER_ENABLED")
        try:
            return Check("ok", await ping_engine(self._settings.docker_host or DEFAULT_ENGINE))
        except NotSeen as unseen:
            node = await self._own_node()
            if node.trouble:
                raise Failed(f"the worker says: {node.trouble}") from None
            return Check("ok", f"{unseen}; the worker reports no trouble with it")

    async def _worker(self) -> Check:
        node = await self._own_node()
        more = f"; {node.trouble}" if node.trouble else ""
        draining = ", draining" if node.state is NodeState.DRAINING else ""
        return Check("ok", f"{', '.join(node.workers)} on {node.node}{draining}{more}")

    async def _gpu(self) -> Check:
        if not self._settings.docker_enabled:
            return Check("skipped", "switched off by HIVEMIND_DOCKER_ENABLED")
        try:
            node = await self._own_node()
        except Failed as silent:
            return Check("skipped", str(silent))
        if ill := out_of_service([node], cordons=False):
            raise Degraded(ill.strip(" ()"))
        if not node.gpus:
            return Check("ok", "the node has no device")
        kept = sum(1 for gpu in node.gpus if gpu.cordoned)
        found = f"{len(node.gpus)} devices" if len(node.gpus) > 1 else "1 device"
        return Check("ok", f"{found}, {kept} cordoned" if kept else found)

    async def _own_node(self) -> Node:
        """This node, if a worker of it lives. Raises Failed."""
        name = self._settings.node_id
        nodes = await self._in_thread(self._stores.ledger.nodes)
        for node in nodes:
            if node.node == name and node.state is not NodeState.DOWN:
                return node
        raise Failed(f"no worker of {name} has been heard of lately")

    async def _bridge(self) -> Check:
        host, port = reachable(self._settings.bridge_host), self._settings.bridge_port
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError as error:
            raise Failed(f"{host}:{port} does not answer: {_said(error)}") from None
        writer.close()
        return Check("ok", f"listens on {host}:{port}")

    async def _disk(self) -> Check:
        state, reserve = self._settings.state, self._settings.reserve_disk
        usage = await self._in_thread(lambda: shutil.disk_usage(state))
        detail = f"{format_size(usage.free)} of {format_size(usage.total)} free under {state}"
        if usage.free < reserve:
            raise Failed(f"{detail}; the reserve is {format_size(reserve)}")
        return Check("ok", detail)

    async def _history(self) -> Check:
        group, history = self._outboxes.history, self._stores.history
        if not group:
            return Check("skipped", "switched off by HIVEMIND_HISTORY_RETENTION")
        well, said = finding(await self._in_thread(lambda: self._outboxes.status(group)), "the history")
        if not well:
            raise Degraded(said)
        try:
            async with asyncio.timeout(SHORT_DEADLINE):
                await self._in_thread(history.ping)
        except (TimeoutError, HistoryUnavailable) as error:
            raise Degraded(f"cannot be read: {str(error) or f'no answer within {SHORT_DEADLINE:g} s'}") from None
        return Check("ok", said)

    async def _master(self) -> Check:
        group = self._outboxes.reports
        well, said = finding(await self._in_thread(lambda: self._outboxes.status(group)), "the master")
        if not well:
            raise Degraded(said)
        return Check("ok", said)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await to_thread.run_sync(call, limiter=self._threads, abandon_on_cancel=True)


async def _bounded(check: Callable[[], Awaitable[Check]]) -> Check:
    try:
        async with asyncio.timeout(DEADLINE):
            return await check()
    except TimeoutError:
        return Check("fail", f"no answer within {DEADLINE:g} s")
    except Degraded as degraded:
        return Check("degraded", str(degraded))
    except (Failed, HiveMindError) as error:
        return Check("fail", str(error))
    except OSError as error:
        return Check("fail", _said(error))


def _said(error: OSError) -> str:
    """The system's own words: asyncio puts others in their place."""
    return os.strerror(error.errno) if error.errno else str(error)


def reachable(host: str) -> str:
    """The address to call a server at that binds to `host`: a wildcard is not one."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104


async def ping_engine(url: str) -> str:
    """Ask the container engine for a sign of life. Raises Failed, and NotSeen where no path leads there."""
    parts = urlsplit(url)
    try:
        if parts.scheme == "unix":
            reader, writer = await asyncio.open_unix_connection(parts.path)
        elif parts.scheme == "tcp" and parts.hostname:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 2375)
        else:
            raise NotSeen(f"{parts.scheme} is no way for this process")
    except (FileNotFoundError, PermissionError):
        raise NotSeen(f"{url} is not for this process") from None
    except OSError as error:
        raise Failed(f"{url} does not answer: {_said(error)}") from None
    try:
        writer.write(b"GET /_ping HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")
        answer = await reader.readline()
    finally:
        writer.close()
    if b" 200 " not in answer:
        raise Failed(f"{url} answers {answer.decode('latin-1').strip() or 'nothing'!r}")
    return f"answers at {url}"
