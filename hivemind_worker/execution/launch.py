"""From a prepared attempt to its started container. The container's name is the fence: none is started twice."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from hivemind_worker.domain.errors import EngineUnavailable, EngineUnreachable, EntrypointRefused, JobRefused
from hivemind_worker.domain.job import Job, State
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.execution.engine import Engine, NameTaken
from hivemind_worker.execution.found import Found
from hivemind_worker.execution.handle import Handle
from hivemind_worker.execution.images import ensure_image
from hivemind_worker.execution.patience import Backoff, check
from hivemind_worker.execution.prepared import Prepared
from hivemind_worker.execution.restarts import served_since
from hivemind_worker.execution.sandbox import OWNER_LABELS, WORKDIR, Identity
from hivemind_worker.execution.since import Moment
from hivemind_worker.execution.verdict import cannot_start
from hivemind_worker.execution.wire import EngineRefused, EngineStream
from hivemind_worker.execution.workspace import Workspace, workspaces_of
from hivemind_worker.killpoints import reach
from hivemind_worker.settings import Settings

log = structlog.get_logger()

#: how runc says that there is no such program; the engine's own init is the engine's affair
_NO_PROGRAM = re.compile(r'exec: "(?P<program>(?!docker-init)[^"]+)": (?P<why>.+?)(?:: unknown)?$')
#: the machine's troubles, which runc reports in the same words as a program's
_PASSING = (
    "resource temporarily unavailable", "cannot allocate memory", "no space left on device", "too many open files",
    "input/output error", "disk quota exceeded",
)  # fmt: skip


class ContainerLost(JobRefused):
    """The container of this attempt was deleted by somebody else."""

    code = "container_lost"
    cause = Cause.ENGINE


class StartUnknown(JobRefused):
    """The engine was asked to start this attempt's container and does not know what became of it.

    One that was killed while it started a container calls it merely created afterwards, though its program ran; one
    that was frozen may yet start it, and see it end, before it hears of a second start. Either would run it twice.
    """

    code = "start_unknown"
    cause = Cause.ENGINE

    def __init__(self) -> None:
        super().__init__("the engine was asked to start its container and does not know whether it ran")


class ForeignContainer(JobRefused):
    """A container of another site bears this attempt's name."""

    code = "foreign_container"
    cause = Cause.ENGINE


@dataclass(frozen=True, slots=True)
class Launched:
    """A started container. Fresh: its output is attached. Else `found` says how it stood when it was found.

    `attached_to`: when the engine was started that gives the output; `kept`: whether that one lets its containers run
    on when it is stopped. None where it cannot be known.
    """

    container: str
    output: EngineStream | None
    found: Found | None
    attached_to: Moment | None = None
    kept: bool | None = None


def launch(
    engine: Engine, settings: Settings, prepared: Prepared, handle: Handle, confirm: Callable[[bool], None]
) -> Launched:
    """Start the attempt's container, or find it started. An engine that is away is waited for.

    `confirm` is called right before the engine is asked for the start; nothing starts when it raises. True: it is to
    make sure, since other hands have been at this attempt.

    Raises Detached, StoppedEarly, ContainerLost, StartUnknown, ForeignContainer, EntrypointRefused, ImageRefused,
    EngineRefused, NodeDiskFull.
    """
    backoff = Backoff(handle)
    look_first = prepared.body is None
    while True:
        try:
            return _try(engine, settings, prepared, handle, confirm, look_first)
        except EngineUnavailable as error:
            if backoff.tries == 0:
                log.warning("attempt waits for the engine", job_id=prepared.job.task_id, why=str(error))
            backoff.rest()
            look_first = True  # the call may have been heard although its answer was not


def had_started(job: Job) -> bool:
    """Whether the record says that the attempt is beyond its start: its container, if it had one, is not made anew."""
    return job.state in (State.RUNNING, State.COLLECTING)


def check_owner(identity: Identity, found: Found) -> None:
    """Raises ForeignContainer, ContainerLost."""
    if not identity.owns(found):
        raise ForeignContainer(
            f"a container named {identity.name} exists and is not this site's: two sites share this engine and a "
            "task_id; remove that container or choose another task_id"
        )
    if found.status in ("removing", "dead"):
        raise ContainerLost


def find_container(engine: Engine, identity: Identity) -> Found | None:
    """The attempt's container: by its name, else by its labels, for a person may have renamed it."""
    named = engine.inspect(identity.name)
    if named is not None and identity.owns(named):
        return named
    for listed in engine.list({key: identity.labels[key] for key in OWNER_LABELS}):
        if (found := engine.inspect(listed.id)) is not None:
            log.warning(
                "container found by its labels", job_id=identity.task_id, attempt=identity.attempt, as_=found.name
            )
            return found
    return named


def _try(
    engine: Engine,
    settings: Settings,
    prepared: Prepared,
    handle: Handle,
    confirm: Callable[[bool], None],
    look_first: bool,
) -> Launched:
    found = find_container(engine, prepared.identity) if look_first else None
    if found is None:
        check(handle, started=prepared.workspace.start_noted or had_started(prepared.job))
        if prepared.workspace.start_noted and not had_started(prepared.job):
            raise StartUnknown
        found = _create(engine, settings, prepared, handle)
    if found is not None:
        check_owner(prepared.identity, found)
        _settle_in(prepared, found, confirm)
        prepared.container = found.id
        if found.status != "created":
            return Launched(found.id, None, found)
        if prepared.workspace.start_noted:
            confirm(True)  # else who asked for the start may be about to be answered
            engine.remove(found.id)  # its program too, should it run after all
            raise StartUnknown
    assert prepared.container is not None
    check(handle)
    reach("container-created", prepared.job.task_id)
    output = engine.attach(prepared.container)
    try:
        # At once: where init listens for the engine, its number is asked for, and may be the next one's any moment.
        attached_to = served_since(output)
        kept = engine.kept_by(attached_to)
        confirm(False)
        if not prepared.workspace.note_start():
            raise EngineUnavailable("other hands have asked for its start")
        engine.start(prepared.container)
    except EngineRefused as refused:
        output.close()
        raise _start_refused(refused) from None
    except EngineUnreachable:
        output.close()
        prepared.workspace.forget_start()
        raise
    except BaseException:
        output.close()
        raise
    reach("container-started", prepared.job.task_id)
    return Launched(prepared.container, output, None, attached_to, kept)


def mounted_by(found: Found, workspaces: Iterable[Workspace]) -> Workspace | None:
    """The one of these that the container works in; by its name, so that no path is followed."""
    name = Path(found.mounts.get(WORKDIR, "")).parent.name
    return next((one for one in workspaces if one.root.name == name), None)


def _settle_in(prepared: Prepared, found: Found, confirm: Callable[[bool], None]) -> None:
    """Go on in the container's workspace where other hands made it: they were frozen, or are, and came first.

    Raises what `confirm` raises, when it is ours that were.
    """
    mine, task_id, attempt = prepared.workspace, prepared.job.task_id, prepared.job.attempt
    its = mounted_by(found, workspaces_of(mine.root.parent, task_id, attempt))
    if its is None or its == mine:
        return
    try:
        confirm(True)
        prepared.workspace = its
    finally:
        mine.remove()


def _create(engine: Engine, settings: Settings, prepared: Prepared, handle: Handle) -> Found | None:
    """Make the container; the one that bears the name already, if one does."""
    if prepared.body is None:
        raise ContainerLost
    name, image = prepared.identity.name, prepared.job.assignment.image
    try:
        prepared.container = engine.create(name, prepared.body)
    except NameTaken:
        found = find_container(engine, prepared.identity)
        if found is None:
            raise EngineUnavailable(f"container {name} comes and goes") from None
        return found
    except EngineRefused as refused:
        if refused.status != 404:
            raise
        engine.forget_image(image)
        ensure_image(engine, image, settings.pull, settings.pull_timeout, handle)
        prepared.container = engine.create(name, prepared.body)
    return None


def _start_refused(refused: EngineRefused) -> JobRefused:
    said = _NO_PROGRAM.search(refused.words)
    if said is None or any(words in said["why"] for words in _PASSING):
        return refused
    return EntrypointRefused(cannot_start(said["program"], said["why"]))
