"""`hivemind.run_job`: the way of one attempt, from its claim to its outcome, on one screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import structlog
from celery.exceptions import Ignore, Reject

from hivemind_worker.admission.intake import plain_fields
from hivemind_worker.admission.recovery import fresh_for
from hivemind_worker.agent import LEASE_BEATS, Agent
from hivemind_worker.celery import app
from hivemind_worker.delivery.report import Source, without_artifact
from hivemind_worker.domain.errors import (
    EngineUnavailable,
    EntrypointRefused,
    HiveMindError,
    JobRefused,
    RecordCorrupt,
    StaleAttempt,
    StoreUnavailable,
)
from hivemind_worker.domain.fence import standing
from hivemind_worker.domain.job import Job, State
from hivemind_worker.domain.outcome import Cause, LogInfo, Outcome
from hivemind_worker.domain.poison import poison_outcome
from hivemind_worker.domain.retry import next_step
from hivemind_worker.execution.conclude import as_noted
from hivemind_worker.execution.device_refusals import DevicesRefused
from hivemind_worker.execution.handle import Detached, Handle
from hivemind_worker.execution.lost import WORDS_OF_LOSS, recover_log
from hivemind_worker.execution.runner import Ended, Prepared
from hivemind_worker.fenced import settle
from hivemind_worker.killpoints import reach
from hivemind_worker.requests import JobRequest
from hivemind_worker.step import agent_of
from hivemind_worker.store.jobs import NewJob
from hivemind_worker.store.keys import TASK

log = structlog.get_logger()
T = TypeVar("T")

ONE_MAPPING = "hivemind.run_job takes one mapping: the fields of an assignment"
#: seconds between looks at what the node says of itself
LOOK = 0.1
WORDS_OF_GIVING_UP = "it took its workers down and is given up: what it wrote since is missing here"


class JobFailed(Exception):
    """The job ended other than well. Flower shows this text."""


class AssignmentRefused(Exception):
    """A plain client's job was not accepted. Flower shows this text."""


@app.task(
    name=TASK,
    bind=True,
    Request=JobRequest,
    throws=(JobFailed, AssignmentRefused),
    ignore_result=True,
    max_retries=None,
)  # type: ignore[untyped-decorator]
def run_job(self: Any, *args: Any, **named: Any) -> str:
    """A hint `(task_id, attempt)` from admission, or an assignment `(fields,)` from a plain Celery client."""
    agent = agent_of(self.app)
    job, attempt = hint_or_fields(args, named)
    if attempt is None:
        accept(self, agent, job)
    ended = run_attempt(agent, str(job), int(attempt or 0))
    if ended is None or ended.state == "waiting":
        raise Ignore
    outcome = ended.outcome
    assert outcome is not None
    if outcome.cause is Cause.CANCELLED:
        self.send_event("task-revoked", terminated=True, signum="15", expired=False)
        raise Ignore
    if outcome.cause is not Cause.OK:
        raise JobFailed(f"{outcome.cause.value}: {outcome.evidence}")
    return "ok"


def hint_or_fields(args: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[Any, int | None]:
    """What a message's arguments say: `(task_id, attempt)`, or `(fields, None)`. Anybody may have sent them; pure.

    Raises AssignmentRefused.
    """
    found = {**dict(zip(("job", "attempt"), args, strict=False)), **named}
    job, attempt = found.pop("job", None), found.pop("attempt", None)
    hint = isinstance(job, str) and isinstance(attempt, int) and not isinstance(attempt, bool)
    if found or len(args) > 2 or not (hint or (isinstance(job, dict) and attempt is None)):
        raise AssignmentRefused(ONE_MAPPING)
    return job, attempt


def accept(task: Any, agent: Agent, fields: dict[str, Any]) -> None:
    """Make a plain client's assignment durable, then end this message. Always raises."""
    try:
        spec, secrets = plain_fields({"task_id": task.request.id, **fields})
        new = agent.intake.check(spec, secrets)
        _accept_patiently(agent, new)
    except Detached:
        # Not acknowledged: the message goes back to the queue it came from.
        raise Reject(requeue=True) from None
    except HiveMindError as error:
        raise AssignmentRefused(str(error)) from None
    if new.assignment.task_id != task.request.id:
        task.send_event("task-succeeded", result=f"accepted as {new.assignment.task_id}", runtime=0.0)
    raise Ignore


def _accept_patiently(agent: Agent, new: NewJob) -> None:
    """Wait for Redis as a job's body does, so that a worker that leaves ends this too. Raises Detached."""
    handle = Handle()
    name = f"intake of {new.assignment.task_id}"
    try:
        if not agent.running.enter(name, handle):
            raise Detached
        persist(handle, lambda: agent.intake.accept(new))
        reach("accepted", new.assignment.task_id)
    finally:
        agent.running.leave(name)
        handle.close()


def run_attempt(agent: Agent, task_id: str, attempt: int) -> Job | None:
    """Run one attempt to its recorded end. None: it was not ours to run, or the worker is leaving."""
    handle = Handle()
    if not agent.running.enter(task_id, handle):
        handle.close()
        return None
    job: Job | None = None
    try:
        job = persist(handle, lambda: claim(agent, task_id, attempt))
        reach("claimed", task_id)
        agent.running.hold(task_id, attempt)
        if job.stop_grace is not None:
            handle.stop(job.stop_grace)
        if poison := poison_outcome(job, agent.settings.poison_after):
            return _give_up(agent, job, poison, handle)
        return _run_claimed(agent, job, handle)
    except StaleAttempt as stale:
        if job is None:
            log.info("hint out of date", job_id=task_id, attempt=attempt, why=str(stale))
        else:
            settle(agent, job, str(stale))
        return None
    except RecordCorrupt as damaged:
        why = str(damaged)
        log.error("record put aside", job_id=task_id, attempt=attempt, why=why)
        persist(handle, lambda: agent.stores.audit.put_aside(task_id, why))
        return None
    except Detached:
        if job is not None and handle.fenced:
            settle(agent, job, "its record or its log is in other hands")
        else:
            log.info("attempt left to itself", job_id=task_id, attempt=attempt)
        return None
    finally:
        agent.running.leave(task_id)
        handle.close()


def claim(agent: Agent, task_id: str, attempt: int) -> Job:
    """Take the attempt up. Raises StaleAttempt, RecordTooNew, RecordCorrupt, StoreUnavailable."""
    if not agent.name.held:  # a twin's hints are on this queue, too, and its rows bear this name
        raise StoreUnavailable("whether this worker's name is its own is not known yet")
    return agent.stores.jobs.claim(task_id, attempt, node=agent.node, worker=agent.worker, boot=agent.boot)


def _give_up(agent: Agent, job: Job, outcome: Outcome, handle: Handle) -> Job:
    """End a job that takes its workers down, and touch nothing of it that might take this one down too."""
    log.error("job given up", job_id=job.task_id, attempt=job.attempt, why=outcome.evidence)
    agent.running.release(job.task_id)
    persist(handle, lambda: agent.stores.logs.say(job.task_id, job.attempt, WORDS_OF_GIVING_UP, worker=job.worker))
    persist(handle, lambda: agent.stores.jobs.finish(job, outcome))
    agent.runner.discard(job)
    return job.model_copy(update={"state": State(outcome.state), "outcome": outcome})


def _run_claimed(agent: Agent, job: Job, handle: Handle) -> Job:
    prepared, ended = _execute(agent, job, handle)
    jobs = agent.stores.jobs
    if tell := agent.running.owed().get(job.task_id):
        persist(handle, tell)
    persist(handle, lambda: jobs.advance(job.task_id, job.attempt, State.COLLECTING, worker=agent.worker))
    reach("collecting", job.task_id)
    # The claim's job, with the time it started: what else the record says now may be another's.
    job = job.model_copy(update={"times": persist(handle, lambda: jobs.get(job.task_id)).times})
    outcome = _collect(agent, job, prepared, ended, handle)
    reach("artifact-kept", job.task_id)
    keep = outcome.state == State.FAILED.value and agent.runner.keep(prepared)
    state = _record(agent, job, outcome, handle)
    reach("retried" if state is State.WAITING else "recorded", job.task_id)
    if prepared is not None:
        agent.runner.clean(prepared, keep_workspace=keep and state is State.FAILED)
    log.info("attempt ended", job_id=job.task_id, attempt=job.attempt, cause=outcome.cause.value, state=state.value)
    return job.model_copy(update={"state": state, "outcome": outcome})


def _collect(agent: Agent, job: Job, prepared: Prepared | None, ended: Ended, handle: Handle) -> Outcome:
    """The outcome with its artifact; whatever breaks here must not keep the job from ending."""

    def rest(seconds: float) -> None:
        if handle.wait_detached(seconds):
            raise Detached

    try:
        return agent.collector.collect_patiently(job, source_of(prepared), outcome_of(ended), rest)
    except Detached:
        raise
    except Exception as error:
        log.exception("artifact not collected", job_id=job.task_id, attempt=job.attempt)
        return without_artifact(outcome_of(ended), f"{type(error).__name__}: {error}")


def _execute(agent: Agent, job: Job, handle: Handle) -> tuple[Prepared | None, Ended]:
    """Prepare and run; whatever keeps the job from starting is an outcome too."""
    jobs = agent.stores.jobs

    def started() -> None:
        since = handle.age

        def tell() -> None:
            ago = handle.age - since
            jobs.advance(job.task_id, job.attempt, State.RUNNING, worker=agent.worker, ago=ago)

        try:
            tell()
            reach("running", job.task_id)
        except StoreUnavailable:
            log.warning("start not recorded yet: redis is away", job_id=job.task_id, attempt=job.attempt)
            agent.running.owe(job.task_id, tell)

    def confirm(surely: bool) -> None:
        """After a freeze, a long pull or an engine that hung the attempt may be another's: the record says."""
        if handle.age < fresh_for(agent.settings.node_lost_after, agent.settings.beat) and not surely:
            return
        if standing(jobs.get_many([job.task_id])[0], job.attempt, agent.worker) != "mine":
            handle.fence()
            raise Detached

    prepared: Prepared | None = None
    try:
        secrets = persist(handle, lambda: jobs.secrets(job.task_id)) if job.has_secrets else {}
        prepared = agent.runner.prepare(job, secrets, _devices(agent, job, handle), handle)
        ended = agent.runner.run(prepared, handle, started, confirm)
        if not ended.unseen:
            return prepared, ended
    except JobRefused as refusal:
        never_ran = isinstance(refusal, EntrypointRefused | DevicesRefused)
        ended = Ended(refusal.cause, str(refusal), unseen=not never_ran and agent.runner.may_have_run(job, prepared))
        if isinstance(refusal, DevicesRefused):
            _until_known(agent, handle)
    except (Detached, StaleAttempt):
        raise
    except EngineUnavailable as error:
        ended = Ended(Cause.ENGINE, str(error), unseen=agent.runner.may_have_run(job, prepared))
    except Exception as error:
        log.exception("attempt broke", job_id=job.task_id, attempt=job.attempt)
        unseen = agent.runner.may_have_run(job, prepared)
        ended = Ended(Cause.INTERNAL, f"{type(error).__name__}: {error}", unseen=unseen)
    if prepared is not None:
        persist(handle, lambda: confirm(True))  # what runs may be the container of the hands that it is in now
        agent.runner.put_down(prepared, handle)
        ended = as_noted(prepared, ended)
    return prepared, _with_the_loss_marked(agent, job, prepared, ended, handle) if ended.unseen else ended


def _devices(agent: Agent, job: Job, handle: Handle) -> Sequence[str]:
    """Those that the job's row gives it."""
    if not job.assignment.requests.gpus:
        return ()
    row = persist(handle, lambda: agent.stores.ledger.rows(agent.node).get(job.task_id))
    return row.gpus if row else ()


def _with_the_loss_marked(agent: Agent, job: Job, prepared: Prepared | None, ended: Ended, handle: Handle) -> Ended:
    """Say in its log that an attempt which nobody watched to its end may have written more. Raises Detached."""

    def say() -> None:
        agent.runner.send_log(job)  # what is on its way comes first, under the numbers it has
        logs.say(job.task_id, job.attempt, WORDS_OF_LOSS, worker=job.worker)

    logs, known = agent.stores.logs, ended.log.bytes
    persist(handle, say)
    if prepared is not None:
        file = prepared.workspace.log
        known = max(known, persist(handle, lambda: recover_log(file, logs, job.task_id, job.attempt)))
    return replace(ended, log=LogInfo(bytes=known, truncated=True))


def _until_known(agent: Agent, handle: Handle) -> None:
    """Stay until the node has said that it lends no devices: the job would be placed on them again at once.

    Raises Detached. A few beats at most: whoever says it may be leaving.
    """
    latest = time.monotonic() + LEASE_BEATS * agent.settings.beat
    while agent.refusals.trouble() and time.monotonic() < latest:
        nodes = persist(handle, agent.stores.ledger.nodes)
        if any(node.gpu_trouble for node in nodes if node.node == agent.node):
            return
        if handle.wait_detached(LOOK):
            raise Detached


def outcome_of(ended: Ended) -> Outcome:
    """The outcome before its artifact is known."""
    return Outcome(
        cause=ended.cause,
        exit_code=ended.exit_code,
        evidence=ended.evidence,
        usage=ended.usage,
        log=ended.log,
    )


def source_of(prepared: Prepared | None) -> Source | None:
    """Where the attempt's files lie; None when it got none."""
    if prepared is None:
        return None
    workspace = prepared.workspace
    return Source(workspace.work, workspace.baseline(), workspace.log)


def _record(agent: Agent, job: Job, outcome: Outcome, handle: Handle) -> State:
    """Outcome, record and release in one step, or back to the line for another attempt."""
    jobs, settings = agent.stores.jobs, agent.settings
    latest = persist(handle, lambda: jobs.get(job.task_id))
    step = next_step(latest, outcome, budget=settings.infrastructure_retries, backoff=settings.infrastructure_backoff)
    agent.running.release(job.task_id)

    def after_its_log(write: Callable[[], T]) -> T:
        """Who follows the log leaves at the job's end, and what the next attempt finds unsent is refused unmarked."""
        agent.runner.send_log(job)
        return write()

    if step is not None and persist(handle, lambda: after_its_log(lambda: jobs.retry(job, outcome, step))):
        return State.WAITING
    persist(handle, lambda: after_its_log(lambda: jobs.finish(job, outcome)))
    return State(outcome.state)


def persist(handle: Handle, write: Callable[[], T]) -> T:
    """Do it as soon as Redis lets us. The container stays until then, so a killed worker loses nothing.

    Raises Detached when the worker leaves meanwhile.
    """
    pause = 0.05
    while True:
        try:
            return write()
        except StoreUnavailable:
            if handle.wait_detached(pause):
                raise Detached from None
            pause = min(pause * 2, 2.0)
