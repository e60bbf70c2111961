"""Why a job waits and until when, and the one way jobs and nodes are shown to the outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from hivemind_worker.admission.devices import out_of_service
from hivemind_worker.admission.outlook import Outlook, Outlooks
from hivemind_worker.admission.rules import Passed, Rules
from hivemind_worker.admission.summary import LineSummary, kind_of, summary_of
from hivemind_worker.domain.job import Job, Promised, State, WaitingInfo, iso, view
from hivemind_worker.domain.node import Node, NodeState, node_view
from hivemind_worker.domain.resources import describe
from hivemind_worker.store.jobs import JobStore
from hivemind_worker.store.ledger import Ledger

#: kinds of waiting in which the head's promise is part of the reason
WAIT_FOR_THE_PROMISE = frozenset({"full", "behind", "head"})


class Explainer:
    """Turns records into what people and scripts see. Threads may share it. Calls may raise StoreUnavailable."""

    def __init__(self, jobs: JobStore, ledger: Ledger, rules: Rules = Rules()) -> None:  # noqa: B008 - frozen
        self._jobs = jobs
        self._ledger = ledger
        self._outlooks = Outlooks(ledger, rules)

    def views(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        """Jobs in the contract's shape; waiting ones with reason, position and ETA."""
        waiting = [job for job in jobs if job.state is State.WAITING]
        if not waiting:
            return [view(job) for job in jobs]
        outlook = self._outlooks.of([job.task_id for job in waiting])
        infos = self._infos(waiting, outlook)
        return [view(job, infos.get(job.task_id)) for job in jobs]

    def _infos(self, waiting: Sequence[Job], outlook: Outlook) -> dict[str, WaitingInfo]:
        standing = outlook.standing
        if standing is None:
            head = outlook.promise.task_id if outlook.promise else ""
            places = places_behind(head, self._jobs.positions({head, *(job.task_id for job in waiting)}))
            return {job.task_id: waiting_info(job, places.get(job.task_id), outlook) for job in waiting}
        own = self._jobs.own_positions(job for job in waiting if job.task_id not in standing.places)
        about = {
            job.task_id: standing.about(job.assignment.owner, own[job.task_id]) for job in waiting if job.task_id in own
        }
        return {
            job.task_id: waiting_info(job, standing.places.get(job.task_id), outlook, about.get(job.task_id))
            for job in waiting
        }

    def line(self) -> LineSummary:
        """Why the line waits, in numbers. It looks at the line's front alone, however many wait."""
        front, outlook = self._outlooks.of_front()
        places = outlook.standing.places if outlook.standing else {}
        ids = sorted((each.task_id for each in front.candidates), key=lambda each: places.get(each, len(places) + 1))
        return summary_of(ids, self._jobs.counts()["waiting"], outlook, front.looked)

    def nodes(self, name: str = "") -> list[dict[str, Any]]:
        """Nodes in the contract's shape. Raises NotFound for a name that no node has."""
        nodes = [self._ledger.node(name)] if name else self._ledger.nodes()
        waiting = self._jobs.counts()["waiting"]
        held = self._ledger.books(node.node for node in nodes).rows
        return [node_view(node, held[node.node], waiting) for node in nodes]


def places_behind(head: str, places: Mapping[str, int]) -> dict[str, int]:
    """Places as they are served: who has the reservation is first, whoever has come before it since. Pure."""
    at = places.get(head, 0)
    return {each: 1 if each == head else place + (place < at) for each, place in places.items()}


def waiting_info(job: Job, position: int | None, outlook: Outlook, about: int | None = None) -> WaitingInfo:
    """The reason in one sentence, the place, and the seconds until it will probably start. Pure.

    `about`: roughly its place, where the place is not known: for the ETA alone.
    """
    closed = _home_closed(job, outlook.nodes) if job.assignment.home else _nobody_takes(outlook.nodes)
    kind = kind_of(job.task_id, outlook)
    promise = outlook.promise if kind in WAIT_FOR_THE_PROMISE and not closed else None
    return WaitingInfo(
        reason=closed or _reason(job, position, outlook),
        kind=kind,
        position=position,
        eta_seconds=outlook.eta_seconds(job.task_id, about if position is None else position),
        promise=Promised(task_id=promise.task_id, node=promise.node, at=iso(promise.at) or "") if promise else None,
    )


def _nobody_takes(nodes: Sequence[Node]) -> str:
    """Why no node takes anything; '' when one does."""
    if not nodes:
        return "no worker has announced itself to this site yet"
    up = [node for node in nodes if node.state is NodeState.UP]
    if not up:
        draining = [node.node for node in nodes if node.state is NodeState.DRAINING]
        return f"node {draining[0]} is draining" if draining else "no worker is up"
    if all(node.trouble for node in up):
        return f"node {up[0].node}: {up[0].trouble}"
    return ""


def _home_closed(job: Job, nodes: Sequence[Node]) -> str:
    """Why the one node that may run it takes nothing; '' when it does."""
    home = job.assignment.home
    node = next((node for node in nodes if node.node == home), None)
    if node is None:
        state = "has not announced itself to this site"
    elif node.state is not NodeState.UP:
        state = f"is {node.state.value}"
    else:
        state = f"takes nothing now: {node.trouble}" if node.trouble else ""
    return f"its {_kept(job)} on node {home}, which {state}" if state else ""


def _kept(job: Job) -> str:
    """What ties it to its home: 'bundle is', 'secrets are'. Secrets beside a bundle go without saying."""
    return "bundle is" if job.assignment.bundle_sha256 else "secrets are"


def _reason(job: Job, position: int | None, outlook: Outlook) -> str:
    if job.task_id in outlook.starting:
        return "fits; about to start" if position in (None, 1) else "fits; others are before it in the line"
    passed = outlook.passed.get(job.task_id)
    if passed is None:
        if job.not_before:
            return f"waits until {moment(job.not_before, outlook.now)} before its next attempt"
        return "its place in the line is being looked up"
    if passed.kind == "owner":
        return outlook.owners.reason(job.assignment.owner)
    if passed.kind == "nowhere":
        ill = _ill_devices(passed, job, outlook.nodes)
        return f"needs {listed(passed.lacking)} more than {passed.node} has, even empty{_tie(job)}{ill}"
    if passed.kind == "withheld":
        return _withheld(passed, job, outlook.nodes)
    return _behind(passed, job, outlook)


def _withheld(passed: Passed, job: Job, nodes: Sequence[Node]) -> str:
    """What the node that could hold it lends too little of for now, and why."""
    node = next(node for node in nodes if node.node == passed.node)
    why = ""
    if caps := node.lowered(passed.lacking):
        why = f"; an operator set {', '.join(caps)}"
    elif {"millicores", "spare"} & set(passed.lacking):
        why = "; it lends more while its cores are idle"
    short = f"needs {listed(passed.lacking)} more than {node.node} lends now, even empty{_tie(job)}"
    return f"{short}{_ill_devices(passed, job, nodes)}{why}"


def _behind(passed: Passed, job: Job, outlook: Outlook) -> str:
    promise, now = outlook.promise, outlook.now
    needs = needing(passed.lacking, job.assignment.home) + (_tie(job) if passed.lacking else "")
    needs += _ill_devices(passed, job, outlook.nodes)
    if promise is None:
        return needs or "fits; others are before it in the line"
    until = f"{promise.node} by {moment(promise.at, now)}"
    if promise.task_id == job.task_id:
        return f"{needs or 'fits; short jobs go first'}; it is next and starts on {until}"
    if needs:
        return f"{needs}; {promise.task_id} is before it and starts on {until}"
    return f"fits, but would delay {promise.task_id}, which starts on {until}"


def _ill_devices(passed: Passed, job: Job, nodes: Sequence[Node]) -> str:
    """Where devices are what is missing: those that take no jobs, and why."""
    if not {"gpus", "gpu_memory"} & set(passed.lacking):
        return ""
    home = job.assignment.home
    return out_of_service(node for node in nodes if node.state is NodeState.UP and (not home or node.node == home))


def _tie(job: Job) -> str:
    return f", where its {_kept(job)}" if job.assignment.home else ""


def needing(lacking: Mapping[str, int], node: str = "") -> str:
    """'needs 1.5 cores more than is free now', or 'is free now on' the one node; '' where nothing is missing."""
    where = f" on {node}" if node else ""
    return f"needs {listed(lacking)} more than is free now{where}" if lacking else ""


def listed(lacking: Mapping[str, int]) -> str:
    """'1.5 cores, 2G of memory'."""
    return ", ".join(describe(name, amount) for name, amount in lacking.items())


def moment(milliseconds: int, now: int) -> str:
    """A time for a person: with the date where it is not within a day."""
    when = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return when.strftime("%H:%M:%S UTC" if abs(milliseconds - now) < 86_400_000 else "%Y-%m-%d %H:%M UTC")
