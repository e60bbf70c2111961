"""The janitor: removes what no row of the ledger stands behind, our containers and workspaces.

No age is needed to tell a leftover from a beginning. A row is there before its attempt makes anything and goes only
once the outcome is recorded, so what was seen first and has no row afterwards is nobody's. There are no networks and
helper containers to remove: this node makes none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import structlog

from hivemind_worker.domain.errors import EngineUnavailable, HiveMindError
from hivemind_worker.execution.engine import Engine
from hivemind_worker.execution.found import Found
from hivemind_worker.execution.node_names import noted_names
from hivemind_worker.execution.sandbox import LABEL_ATTEMPT, LABEL_NODE, LABEL_SITE, LABEL_TASK
from hivemind_worker.execution.workspace import Workspace, list_workspaces
from hivemind_worker.settings import Settings

log = structlog.get_logger()

#: a job's id and the number of one attempt
Attempt = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Kept:
    """A workspace as the decision sees it. Epoch seconds."""

    task_id: str
    attempt: int
    kept_until: float | None


def doomed_containers(
    found: Iterable[Found], live: Collection[Attempt], bodies: Collection[str], *, site: str, nodes: Collection[str]
) -> list[Found]:
    """The containers of this site and of these names of a node that no row stands behind. Pure.

    `bodies`: the jobs that this worker has bodies for. Such a body may be cleaning up after its end, so what does not
    run is left to it; what does run is stopped, whoever watches it: its attempt was fenced off.
    """
    return [
        container
        for container in found
        if container.labels.get(LABEL_SITE) == site
        and container.labels.get(LABEL_NODE) in nodes
        and attempt_of(container) not in live
        and (container.running or container.labels.get(LABEL_TASK, "") not in bodies)
    ]


def doomed_workspaces(
    kept: Iterable[Kept], needed: Collection[Attempt], bodies: Collection[str], *, now: float
) -> list[Kept]:
    """The workspaces that neither a row nor a container needs and nobody asked to keep (any more). Pure."""
    return [
        workspace
        for workspace in kept
        if (workspace.task_id, workspace.attempt) not in needed
        and workspace.task_id not in bodies
        and (workspace.kept_until is None or now >= workspace.kept_until)
    ]


def attempt_of(container: Found) -> Attempt:
    """What its labels claim; no attempt has the number -1."""
    number = container.labels.get(LABEL_ATTEMPT, "")
    whole = number.isascii() and number.isdecimal()
    return container.labels.get(LABEL_TASK, ""), int(number) if whole else -1


class Janitor:
    """Sweeps one node's containers and workspaces. Several workers of a node may each have one."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        *,
        site_id: Callable[[], str],
        node: str,
        swept: Callable[[float], None] = lambda _: None,
    ) -> None:
        """`swept` is told when a round began whose containers are gone, by the monotonic clock."""
        self._engine = engine
        self._state = settings.state
        self._base = settings.state / "workspaces"
        self._ask_site = site_id
        self._site: str | None = None
        self._node = node
        self._swept = swept

    def sweep(self, rows: Callable[[], Collection[Attempt]], bodies: Callable[[], Collection[str]] = frozenset) -> None:
        """One round. `rows`: the attempts that rows of this node, by all its names, stand for; asked after everything
        was listed.

        Containers first: a workspace goes only after the container that may write to it.
        Raises StoreUnavailable and EngineUnavailable, and then nothing more is removed.
        """
        began = time.monotonic()
        self._site = self._site or self._ask_site()
        nodes = {self._node} | noted_names(self._state)
        ours = self._engine.list({LABEL_SITE: self._site})
        found = [container for container in ours if container.labels.get(LABEL_NODE) in nodes]
        workspaces = list_workspaces(self._base)
        if not found and not workspaces:
            self._swept(began)
            return
        busy = frozenset(bodies())  # before the rows: a body that ends meanwhile has lost its row by then
        live = frozenset(rows())
        doomed = doomed_containers(found, live, busy, site=self._site, nodes=nodes)
        gone = {container.id for container in doomed if self._remove(container)}
        self._swept(began)
        mounted = {attempt_of(container) for container in found if container.id not in gone}
        self._sweep_workspaces(workspaces, live | mounted, busy)

    def _remove(self, container: Found) -> bool:
        """One that the engine does not let go of must not keep the others."""
        try:
            self._engine.remove(container.id)
        except EngineUnavailable:
            raise
        except HiveMindError as error:
            log.warning("container without a row not removed", container=container.name, why=str(error))
            return False
        log.info("container without a row removed", container=container.name, status=container.status)
        return True

    def _sweep_workspaces(
        self, workspaces: list[Workspace], needed: Collection[Attempt], bodies: Collection[str]
    ) -> None:
        idle = [one for one in workspaces if (one.task_id, one.attempt) not in needed]
        # Read only where it matters: the file may hold a long baseline.
        kept = {one.root: Kept(one.task_id, one.attempt, one.kept_until) for one in idle}
        doomed = frozenset(doomed_workspaces(kept.values(), needed, bodies, now=time.time()))
        for one in idle:
            if kept[one.root] in doomed and one.remove():
                log.info("workspace without a row removed", job_id=one.task_id, attempt=one.attempt)
