"""Why a job waits, and the one way jobs and nodes are shown to the outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hivemind_worker.admission.devices import free_on
from hivemind_worker.domain.job import Job, State, WaitingInfo, view
from hivemind_worker.domain.limits import OwnersRunning
from hivemind_worker.domain.node import Node, NodeState, Reservation, node_view
from hivemind_worker.domain.resources import Amount, describe
from hivemind_worker.store.jobs import JobStore
from hivemind_worker.store.ledger import Ledger


class Explainer:
    """Turns records into what people and scripts see. Threads may share it. Calls may raise StoreUnavailable."""

    def __init__(self, jobs: JobStore, ledger: Ledger) -> None:
        self._jobs = jobs
        self._ledger = ledger

    def views(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        """Jobs in the contract's shape; waiting ones with reason and position."""
        waiting = [job for job in jobs if job.state is State.WAITING]
        if not waiting:
            return [view(job) for job in jobs]
        nodes = self._ledger.nodes()
        rows = {node.node: list(self._ledger.rows(node.node).values()) for node in nodes}
        places = self._jobs.positions(job.task_id for job in waiting)
        owners = OwnersRunning.of(self._ledger.max_running_per_owner, (row for held in rows.values() for row in held))
        return [
            view(job, waiting_info(job, places.get(job.task_id), nodes, rows, owners))
            if job.state is State.WAITING
            else view(job)
            for job in jobs
        ]

    def nodes(self, name: str = "") -> list[dict[str, Any]]:
        """Nodes in the contract's shape. Raises NotFound for a name that no node has."""
        nodes = [self._ledger.node(name)] if name else self._ledger.nodes()
        waiting = self._jobs.counts()["waiting"]
        return [node_view(node, list(self._ledger.rows(node.node).values()), waiting) for node in nodes]


def waiting_info(
    job: Job,
    position: int | None,
    nodes: Sequence[Node],
    rows: Mapping[str, Sequence[Reservation]],
    owners: OwnersRunning = OwnersRunning(),  # noqa: B008 - frozen
) -> WaitingInfo:
    """The reason in one sentence. Pure. An ETA comes with run-time prediction, not before."""
    if owners.full(job.assignment.owner):
        return WaitingInfo(reason=owners.reason(job.assignment.owner), position=position)
    return WaitingInfo(reason=_reason(job, position, nodes, rows), position=position)


def _reason(job: Job, position: int | None, nodes: Sequence[Node], rows: Mapping[str, Sequence[Reservation]]) -> str:
    if not nodes:
        return "no worker has announced itself to this site yet"
    up = [node for node in nodes if node.state is NodeState.UP]
    if not up:
        draining = [node.node for node in nodes if node.state is NodeState.DRAINING]
        return f"node {draining[0]} is draining" if draining else "no worker is up"
    able = [node for node in up if not node.trouble]
    if not able:
        return f"node {up[0].node}: {up[0].trouble}"
    wanted = Amount.of(job.assignment.requests)
    shortest: dict[str, int] | None = None
    for node in able:
        free, devices = free_on(node, rows.get(node.node, ()))
        missing = free.lacks(wanted) | devices.lacks(job.assignment.requests)
        if not missing:
            return "fits; about to start" if position in (None, 1) else "fits; others are before it in the line"
        if shortest is None or sum(missing.values()) < sum(shortest.values()):
            shortest = missing
    assert shortest is not None
    parts = ", ".join(describe(name, amount) for name, amount in shortest.items())
    return f"needs {parts} more than is free now"
