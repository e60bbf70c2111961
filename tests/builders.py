"""Small builders for the data that travels: a test says only what matters to it."""

from __future__ import annotations

from typing import Any

from hivemind_worker.domain.assignment import Assignment
from hivemind_worker.domain.job import Job, State, Times
from hivemind_worker.domain.line import Candidate
from hivemind_worker.domain.node import Gpu, Node, NodeState, Reservation
from hivemind_worker.domain.resources import MIB, Amount, Request
from hivemind_worker.store.jobs import NewJob


def request(**given: Any) -> Request:
    return Request(**{"cpu": 1.0, "memory": 64 * MIB, "disk": 10 * MIB, "pids": 64} | given)


def assignment(task_id: str = "t1", **given: Any) -> Assignment:
    wanted = given.pop("requests", None) or request()
    return Assignment(**{"task_id": task_id, "image": "busybox", "requests": wanted, "timeout_seconds": 60.0} | given)


def new_job(task_id: str = "t1", secrets: dict[str, str] | None = None, **given: Any) -> NewJob:
    spec = assignment(task_id, **given)
    return NewJob(spec, secrets or {}, spec.model_dump(mode="json"))


def job(task_id: str = "t1", state: State = State.WAITING, **given: Any) -> Job:
    spec = given.pop("assignment", None) or assignment(task_id)
    return Job(**{"assignment": spec, "state": state, "times": Times(created=0)} | given)


def node(name: str = "n1", gpus: tuple[Gpu, ...] = (), state: NodeState = NodeState.UP, **given: int) -> Node:
    amount = Amount(
        **{
            "millicores": 4000, "memory": 1024 * MIB, "gpus": len(gpus), "disk": 1024 * MIB, "pids": 32768, "slots": 8,
            "spare": given.get("millicores", 4000),
        }
        | given
    )  # fmt: skip
    return Node(node=name, state=state, capacity=amount, reserve=Amount(), allocatable=amount, gpus=gpus)


def row(attempt: int = 1, worker: str = "w1", gpus: tuple[str, ...] = (), owner: str = "", **given: Any) -> Reservation:
    return Reservation.of(request(**given), attempt=attempt, worker=worker, gpus=gpus, deadline=0, owner=owner)


def candidate(
    task_id: str,
    rank: float = 0.0,
    created: int = 0,
    owner: str = "",
    timeout: float = 600.0,
    predicted: float | None = None,
    home: str = "",
    **given: Any,
) -> Candidate:
    return Candidate(task_id, request(**given).shape, rank, 1, created, timeout, owner, predicted, home=home)
