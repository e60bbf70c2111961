"""The bridge: builds the gRPC server, starts its parts in order and stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from bridge.changes import Changes
from bridge.flower_feed import FlowerFeed
from bridge.guard import Guard
from bridge.leaders import build_leaders
from bridge.node_service import NodeControlService
from bridge.options import MAX_CALLS, endpoint, server_options
from bridge.task_service import TaskService
from bridge.wire.hivemind.v1 import node_pb2, node_pb2_grpc, task_pb2, task_pb2_grpc
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import SettingsError
from hivemind_worker.settings import Settings, is_loopback

log = structlog.get_logger()

#: seconds that calls under way get to end; the whole stop must be done in 2
_GRACE, _STOP = 1.0, 1.8
#: seconds that the start waits to learn whether Redis answers
_FIRST_WORD = 2.0
_SERVICES = (
    task_pb2.DESCRIPTOR.services_by_name["TaskService"].full_name,
    node_pb2.DESCRIPTOR.services_by_name["NodeControlService"].full_name,
)


class Bridge:
    """One node's bridge. Build, start and stop it on one event loop."""

    def __init__(self, stores: Stores, settings: Settings) -> None:
        self._settings = settings
        self._quick = ThreadPoolExecutor(4, thread_name_prefix="quick")
        self._bulk = ThreadPoolExecutor(4, thread_name_prefix="bulk")
        self._changes = Changes(stores.redis, stores.keys, self._store_answers)
        self._tasks = TaskService(stores, settings, self._changes, quick=self._quick, bulk=self._bulk)
        self._feed = FlowerFeed(stores, settings) if settings.flower_enabled else None
        self._leaders = build_leaders(stores, settings)
        self._health = health.aio.HealthServicer()
        self._telling: set[asyncio.Task[None]] = set()
        self._store_known = asyncio.Event()
        self._server = grpc.aio.server(options=server_options(), maximum_concurrent_rpcs=MAX_CALLS)
        self._guard = Guard(self._server)
        task_pb2_grpc.add_TaskServiceServicer_to_server(self._tasks, self._guard)
        node_pb2_grpc.add_NodeControlServiceServicer_to_server(NodeControlService(stores, self._quick), self._guard)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def start(self) -> int:
        """Take calls; the port. Raises SettingsError when the address is not to be had."""
        host, port = self._settings.bridge_host, self._settings.bridge_port
        bound = self._bind(host, port)
        for name in ("", *_SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)
        self._tasks.start()
        self._changes.start()
        if self._feed is not None:
            await asyncio.get_running_loop().run_in_executor(self._quick, self._feed.start)
        for leader in self._leaders:
            leader.start()
        with contextlib.suppress(TimeoutError):  # so that whoever reads that it is ready finds its health known
            await asyncio.wait_for(self._store_known.wait(), _FIRST_WORD)
        await self._server.start()
        if not is_loopback(host):
            log.warning(
                "ANYONE WHO REACHES THIS ADDRESS CAN RUN CONTAINERS HERE: the bridge listens beyond loopback and "
                "authenticates nobody (HIVEMIND_BRIDGE_INSECURE is set)",
                address=endpoint(host, bound),
            )
        log.info("bridge ready", address=endpoint(host, bound), port=bound, node=self._settings.node_id)
        return bound

    async def stop(self) -> None:
        """Tell streams to come back later, let calls end, give everything back; within 2 s."""
        deadline = time.monotonic() + _STOP
        await self._health.enter_graceful_shutdown()
        self._guard.leave()
        await self._server.stop(_GRACE)
        stops = [self._tasks.stop, self._changes.stop, *([self._feed.stop] if self._feed else [])]
        stops += [leader.stop for leader in self._leaders]
        for stop in stops:
            stop(max(0.0, min(deadline - time.monotonic(), 0.5)))
        for executor in (self._quick, self._bulk):
            executor.shutdown(wait=False, cancel_futures=True)
        log.info("bridge stopped")

    def _bind(self, host: str, port: int) -> int:
        try:
            return int(self._server.add_insecure_port(endpoint(host, port)))
        except RuntimeError:
            raise SettingsError(
                f"HIVEMIND_BRIDGE_HOST/HIVEMIND_BRIDGE_PORT: cannot listen on {endpoint(host, port)}: "
                f"{_why_not(host, port)}"
            ) from None

    def _store_answers(self, up: bool) -> None:
        """Health follows Redis."""
        serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

        async def tell() -> None:
            for name in ("", *_SERVICES):
                await self._health.set(name, serving if up else not_serving)
            self._store_known.set()

        task = asyncio.get_running_loop().create_task(tell())
        self._telling.add(task)  # a task nobody holds may be collected before it has run
        task.add_done_callback(self._telling.discard)


def _why_not(host: str, port: int) -> str:
    """gRPC does not say why a bind failed; the kernel does."""
    with contextlib.suppress(OSError, ValueError):
        family, kind, proto, _, address = socket.getaddrinfo(
            host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, proto) as probe:
            try:
                probe.bind(address)
                probe.listen(1)
            except OSError as error:
                return str(error.strerror).lower()
    return "the address cannot be bound"
