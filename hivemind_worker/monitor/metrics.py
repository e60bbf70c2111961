"""The Prometheus page: everything is read from the stores when it is asked for."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from typing import Any

from anyio import CapacityLimiter, to_thread
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from hivemind_worker.admission.explain import Explainer
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import StoreUnavailable
from hivemind_worker.domain.job import HELD, State
from hivemind_worker.domain.outcome import CAUSES, Cause
from hivemind_worker.monitor.held import held_jobs
from hivemind_worker.monitor.outboxes import Outboxes
from hivemind_worker.monitor.tally import Histogram, Tally
from hivemind_worker.store.connection import named_faults
from hivemind_worker.version import __version__

EVENTS_AT_ONCE = 5000
#: seconds without an answer from Redis after which the page is served without what it knows
DEADLINE = 2.0


class Metrics(Collector):
    """One scrape at a time: the tally goes on where the last one stopped."""

    def __init__(self, stores: Stores, explainer: Explainer, outboxes: Outboxes) -> None:
        self._stores = stores
        self._explainer = explainer
        self._outboxes = outboxes
        self._tally = Tally()
        self._lock = Lock()
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        # Of their own: scrapes that hang leave the others' threads alone, and the question whether Redis answers.
        self._scrapes, self._pings = CapacityLimiter(4), CapacityLimiter(4)

    async def page(self) -> bytes:
        """The text format, version 0.0.4. A Redis that hangs holds it up for DEADLINE seconds; long work may last."""
        scrape = asyncio.ensure_future(to_thread.run_sync(self._read, limiter=self._scrapes, abandon_on_cancel=True))
        try:
            while True:
                ping = asyncio.ensure_future(
                    to_thread.run_sync(self._ping, limiter=self._pings, abandon_on_cancel=True)
                )
                try:
                    await asyncio.wait({scrape}, timeout=DEADLINE)
                    if scrape.done():
                        return scrape.result()
                    if not ping.done():
                        return generate_latest(_without_redis())
                finally:
                    ping.cancel()
        finally:
            scrape.cancel()

    def _read(self) -> bytes:
        with self._lock:
            return generate_latest(self._registry)

    def _ping(self) -> None:
        """Returns when Redis has answered or refused; what it means is the scrape's to say."""
        try:
            with named_faults():
                self._stores.redis.ping()
        except StoreUnavailable:
            return

    def describe(self) -> Iterable[Metric]:
        """Nothing ahead of time: names depend on no scrape, but values would be read for it."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """All families. While Redis is away only the two that do not need it."""
        try:
            families = [
                *self._job_families(),
                *self._line_families(),
                *self._outcome_families(),
                *self._node_families(),
                *self._outboxes.families(),
            ]
        except StoreUnavailable:
            return _own(up=0)
        return [*_own(up=1), *families]

    def _job_families(self) -> list[Metric]:
        counts = self._stores.jobs.counts()
        states = Counter(job.state for job in held_jobs(self._stores))
        states[State.WAITING] = counts["waiting"]
        jobs = GaugeMetricFamily("hivemind_jobs", "Jobs that have not ended, by state.", labels=["state"])
        for state in (State.WAITING, *HELD):
            jobs.add_metric([state.value], states[state])
        waiting = GaugeMetricFamily("hivemind_jobs_waiting", "Jobs in the waiting line.", value=counts["waiting"])
        kept = GaugeMetricFamily("hivemind_jobs_kept", "Jobs on record, ended ones included.", value=counts["known"])
        return [jobs, waiting, kept]

    def _line_families(self) -> list[Metric]:
        """Bounded: labels are few and fixed, and the line's front alone is looked at."""
        line = self._explainer.line()
        jobs = GaugeMetricFamily("hivemind_waiting_jobs", "Waiting jobs, by why they wait.", labels=["reason"])
        for reason, count in line.reasons.items():
            jobs.add_metric([reason], count)
        eta = GaugeMetricFamily(
            "hivemind_waiting_eta_seconds",
            "Until the head of the line, and whoever waits longest, probably starts. Absent: nobody can say.",
            labels=["of"],
        )
        for of, seconds in (("head", line.first_eta), ("max", line.longest_eta)):
            if seconds is not None:
                eta.add_metric([of], seconds)
        return [jobs, eta]

    def _outcome_families(self) -> list[Metric]:
        tally = self._tally
        while events := self._stores.events.read(tally.cursor, block=0, count=EVENTS_AT_ONCE):
            tally.fold(events)
        finished = CounterMetricFamily(
            "hivemind_jobs_finished", "Jobs that ended, by cause and whose fault it was.", labels=["cause", "fault"]
        )
        for cause in Cause:
            finished.add_metric([cause.value, CAUSES[cause].fault], tally.finished[cause.value])
        return [
            finished,
            _histogram("hivemind_job_wait_seconds", "From the waiting line to admission.", tally.waited),
            _histogram("hivemind_job_run_seconds", "From the container's start to its end.", tally.ran),
        ]

    def _node_families(self) -> list[Metric]:
        nodes = self._explainer.nodes()
        return [
            *(_amounts(nodes, field, text) for field, text in AMOUNTS.items()),
            *(_gauge(nodes, name, text, path) for name, (text, path) in GAUGES.items()),
            _node_states(nodes),
            *_devices(nodes),
        ]


class _WithoutRedis(Collector):
    def collect(self) -> Iterable[Metric]:
        return _own(up=0)


def _without_redis() -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_WithoutRedis())
    return registry


def _own(up: int) -> list[Metric]:
    """What is known without Redis."""
    build = GaugeMetricFamily("hivemind_build_info", "This version of HiveMind.", labels=["version"])
    build.add_metric([__version__], 1)
    return [build, GaugeMetricFamily("hivemind_redis_up", "Whether Redis answers.", value=up)]


AMOUNTS = {
    "capacity": "What the node has: cpu in cores, memory and disk in bytes.",
    "allocatable": "What the node lends to jobs: cpu in cores, memory and disk in bytes.",
    "reserved": "What admitted jobs hold: cpu in cores, memory and disk in bytes.",
}
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "cpu_percent": ("CPU in use on the machine, of all its cores.", ("usage", "cpu_percent")),
    "memory_used_bytes": ("Memory in use on the machine.", ("usage", "memory_used")),
    "disk_used_bytes": ("Disk in use where the node's state lies.", ("usage", "disk_used")),
    "load1": ("Load average of one minute.", ("usage", "load_1m")),
    "running": ("Jobs that hold a reservation.", ("running",)),
}


def _amounts(nodes: list[dict[str, Any]], field: str, text: str) -> Metric:
    family = GaugeMetricFamily(f"hivemind_node_{field}", text, labels=["node", "resource"])
    for node in nodes:
        for resource, amount in node[field].items():
            family.add_metric([node["node"], resource], amount)
    return family


def _gauge(nodes: list[dict[str, Any]], name: str, text: str, path: tuple[str, ...]) -> Metric:
    family = GaugeMetricFamily(f"hivemind_node_{name}", text, labels=["node"])
    for node in nodes:
        value: Any = node
        for step in path:
            value = value[step]
        family.add_metric([node["node"]], value)
    return family


def _node_states(nodes: list[dict[str, Any]]) -> Metric:
    family = GaugeMetricFamily("hivemind_node_state", "1 for the state the node is in.", labels=["node", "state"])
    for node in nodes:
        for state in ("up", "draining", "down"):
            family.add_metric([node["node"], state], float(node["state"] == state))
    return family


#: name → what it says, and how it is read from a device's view
DEVICE_GAUGES: dict[str, tuple[str, Callable[[dict[str, Any]], float]]] = {
    "healthy": ("1: jobs may be on the device; 0: it is out of capacity.", lambda gpu: float(not gpu["trouble"])),
    "cordoned": ("1: an operator keeps new jobs off the device.", lambda gpu: float(gpu["cordoned"])),
    "lendable_bytes": ("Memory of the device that jobs can have, ill or not.", lambda gpu: gpu["lendable"]),
    "held_bytes": ("Memory of the device that admitted jobs hold.", lambda gpu: gpu["held"]),
    "jobs": ("Admitted jobs on the device.", lambda gpu: gpu["jobs"]),
}


def _devices(nodes: list[dict[str, Any]]) -> Iterator[Metric]:
    """One sample per device, and one per node: a driver that was dead from the start shows no device at all."""
    able = GaugeMetricFamily(
        "hivemind_node_gpus_available", "0: driver or engine keeps the node from lending devices.", labels=["node"]
    )
    for node in nodes:
        able.add_metric([node["node"]], float(not node["gpu_trouble"]))
    yield able
    for name, (text, read) in DEVICE_GAUGES.items():
        family = GaugeMetricFamily(f"hivemind_gpu_{name}", text, labels=["node", "gpu", "uuid"])
        for node in nodes:
            for gpu in node["gpus"]:
                family.add_metric([node["node"], str(gpu["index"]), gpu["uuid"]], read(gpu))
        yield family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(name, text, buckets=histogram.cumulative(), sum_value=histogram.sum)
