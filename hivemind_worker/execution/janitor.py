"""The janitor: removes what no row of the ledger stands behind, our containers and workspaces."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from hivemind_worker.domain.errors import HiveMindError
from hivemind_worker.execution.engine import Engine
from hivemind_worker.execution.found import Found
from hivemind_worker.execution.sandbox import LABEL_ATTEMPT, LABEL_NODE, LABEL_SITE, LABEL_TASK
from hivemind_worker.execution.workspace import Workspace, list_workspaces
from hivemind_worker.settings import Settings

log = structlog.get_logger()

#: seconds that a thing is left alone: its row may be younger than the list of rows at hand
MIN_AGE = 60.0


@dataclass(frozen=True, slots=True)
class Kept:
    """A workspace as the decision sees it. Epoch seconds."""

    task_id: str
    attempt: int
    made_at: float
    kept_until: float | None


def doomed_containers(
    found: Iterable[Found], live: frozenset[tuple[str, int]], *, site: str, node: str, now: float
) -> list[Found]:
    """The containers of this site and node that no row stands behind."""
    return [
        container
        for container in found
        if container.labels.get(LABEL_SITE) == site
        and container.labels.get(LABEL_NODE) == node
        and _attempt_of(container) not in live
        and now - (container.created_at or 0.0) >= MIN_AGE
    ]


def doomed_workspaces(kept: Iterable[Kept], live: frozenset[tuple[str, int]], *, now: float) -> list[Kept]:
    """The workspaces that no row stands behind and nobody asked to keep (any more)."""
    return [
        workspace
        for workspace in kept
        if (workspace.task_id, workspace.attempt) not in live
        and now - workspace.made_at >= MIN_AGE
        and (workspace.kept_until is None or now >= workspace.kept_until)
    ]


def _attempt_of(container: Found) -> tuple[str, int]:
    attempt = container.labels.get(LABEL_ATTEMPT, "")
    return container.labels.get(LABEL_TASK, ""), int(attempt) if attempt.isdecimal() else -1


class Janitor:
    """Sweeps one node. Blobs have a sweep of their own in their store."""

    def __init__(self, engine: Engine, settings: Settings, *, site_id: Callable[[], str], node: str) -> None:
        self._engine = engine
        self._base = settings.state / "workspaces"
        self._ask_site = site_id
        self._node = node

    def sweep(self, live: frozenset[tuple[str, int]]) -> None:
        """One round. `live`: the attempts that rows of this node stand for. Raises StoreUnavailable.

        Containers first: a workspace goes only after the container that may write to it. An engine that is away
        puts the whole round off.
        """
        site, now = self._ask_site(), time.time()
        try:
            found = self._engine.list({LABEL_SITE: site, LABEL_NODE: self._node})
            doomed = doomed_containers(found, live, site=site, node=self._node, now=now)
            for container in doomed:
                self._engine.remove(container.id)
                log.info("container without a row removed", container=container.name)
        except HiveMindError as error:
            log.info("janitor's round put off", why=str(error))
            return
        gone = {container.id for container in doomed}
        mounted = frozenset(_attempt_of(container) for container in found if container.id not in gone)
        self._sweep_workspaces(live | mounted, now)

    def _sweep_workspaces(self, needed: frozenset[tuple[str, int]], now: float) -> None:
        workspaces = {(one.task_id, one.attempt): one for one in list_workspaces(self._base)}
        kept = [_kept(workspace, now) for workspace in workspaces.values()]
        for one in doomed_workspaces(kept, needed, now=now):
            if workspaces[(one.task_id, one.attempt)].remove():
                log.info("workspace without a row removed", job_id=one.task_id, attempt=one.attempt)


def _kept(workspace: Workspace, now: float) -> Kept:
    try:
        made_at, until = workspace.root.stat().st_mtime, workspace.kept_until
    except OSError:
        made_at, until = now, None  # it vanishes by itself, or is looked at again
    return Kept(workspace.task_id, workspace.attempt, made_at, until)
