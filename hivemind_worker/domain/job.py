"""The durable record of one job, its states, and how it reads from outside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from hivemind_worker.domain.assignment import Assignment
from hivemind_worker.domain.outcome import LogInfo, Outcome, Usage, rule_of
from hivemind_worker.domain.resources import Request


class State(StrEnum):
    """Where a job is. See docs/state_machine.md."""

    #: accepted and durable, holds nothing of any node
    WAITING = "waiting"
    #: holds a reservation; its Celery message is on the way
    ADMITTED = "admitted"
    #: a worker has claimed the attempt; workspace and image are being made ready
    PREPARING = "preparing"
    #: its container has been started
    RUNNING = "running"
    #: its container has ended; the artifact is being collected
    COLLECTING = "collecting"
    #: ended: exit code 0
    COMPLETED = "completed"
    #: ended: anything else that nobody asked for
    FAILED = "failed"
    #: ended: on request
    STOPPED = "stopped"

    @property
    def terminal(self) -> bool:
        """Whether nothing can follow."""
        return self in TERMINAL


TERMINAL = frozenset({State.COMPLETED, State.FAILED, State.STOPPED})
#: states in which a job holds a reservation
HELD = (State.ADMITTED, State.PREPARING, State.RUNNING, State.COLLECTING)


class Times(BaseModel):
    """Milliseconds since the epoch, by Redis' clock; None: not yet."""

    model_config = ConfigDict(frozen=True)

    created: int
    admitted: int | None = None
    started: int | None = None
    finished: int | None = None


class PastAttempt(BaseModel):
    """An attempt that was followed by another. Times in epoch milliseconds by Redis' clock."""

    model_config = ConfigDict(frozen=True)

    attempt: int
    node: str = ""
    worker: str = ""
    cause: str = ""
    evidence: str = ""
    exit_code: int | None = None
    admitted: int | None = None
    started: int | None = None
    ended: int | None = None


class Archived(BaseModel):
    """Marks a job that only the history knows: its log is gone. None: nobody looked for its artifact."""

    model_config = ConfigDict(frozen=True)

    artifact_kept: bool | None = None


class Job(BaseModel):
    """One job as Redis holds it. `attempt` is 0 until the first admission."""

    model_config = ConfigDict(frozen=True)

    assignment: Assignment
    state: State
    attempt: int = 0
    node: str = ""
    worker: str = ""
    times: Times
    #: grace in seconds of a stop that was asked for; None: none was
    stop_grace: float | None = None
    outcome: Outcome | None = None
    #: failed attempts of the job's own so far, against `assignment.retries`
    failures: int = 0
    #: attempts lost to the infrastructure so far, against a budget of their own
    infra_failures: int = 0
    #: epoch milliseconds before which the next attempt does not start; None: at once
    not_before: int | None = None
    #: earlier attempts, oldest first, the newest few
    past: tuple[PastAttempt, ...] = ()
    #: workers that died in a row soon after they had taken the job up, and when: epoch milliseconds and worker
    downs: int = 0
    downs_seen: tuple[tuple[int, str], ...] = ()
    #: whether secrets, and a log, lie beside the record, as the claim of its attempt saw it; True: nobody has looked
    has_secrets: bool = True
    has_log: bool = True
    #: why the record cannot be read; such a job is shown, and neither run nor deleted
    trouble: str = ""
    #: set when the history alone knows it
    archived: Archived | None = None

    @property
    def task_id(self) -> str:
        """The id the master gave."""
        return self.assignment.task_id


class Promised(BaseModel):
    """The head of the line and its promise: it starts by `at` (ISO 8601), on `node` unless it can elsewhere before."""

    model_config = ConfigDict(frozen=True)

    task_id: str
    node: str
    at: str


class WaitingInfo(BaseModel):
    """Why a job waits: a reason for a person, its place (1 is next), seconds until it may start if known.

    `kind` is the reason in one word, of admission/summary.py's REASONS. `promise`: what was promised to the head, where
    that is what it waits for: its own, if it is the head, or that of the job before it.
    """

    model_config = ConfigDict(frozen=True)

    reason: str
    kind: str = ""
    position: int | None = None
    eta_seconds: float | None = None
    promise: Promised | None = None


def iso(milliseconds: int | None) -> str | None:
    """Epoch milliseconds → ISO 8601 in UTC; None stays None."""
    if milliseconds is None:
        return None
    when = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def view(job: Job, waiting: WaitingInfo | None = None) -> dict[str, Any]:
    """The job as every outside surface shows it (contract: `show --json`). Holds no secret."""
    spec, outcome = job.assignment, job.outcome
    return {
        "task_id": job.task_id,
        "state": job.state.value,
        "cause": outcome.cause.value if outcome else None,
        "exit_code": outcome.exit_code if outcome else None,
        "attempt": job.attempt,
        "owner": spec.owner,
        "node": job.node or None,
        "home": spec.home or None,
        "worker": job.worker or None,
        "image": spec.image,
        "command": list(spec.command),
        "requests": spec.requests.model_dump(),
        "priority": spec.priority,
        "waiting": waiting.model_dump() if waiting and job.state is State.WAITING else None,
        "times": {name: iso(value) for name, value in job.times.model_dump().items()},
        "usage": (outcome.usage if outcome else Usage()).model_dump(),
        "artifact": outcome.artifact.model_dump() if outcome and outcome.artifact else None,
        "log": (outcome.log if outcome else LogInfo()).model_dump(),
        "evidence": _evidence(job),
        "timeout_seconds": spec.timeout_seconds,
        "network": spec.network,
        "retries": spec.retries,
        "spent": {"own": job.failures, "infrastructure": job.infra_failures},
        "bundle_sha256": spec.bundle_sha256 or None,
        "attempts": [*(_attempt_view(past, followed=True) for past in job.past), *_newest_attempt(job)],
        "archived": job.archived.model_dump() if job.archived else None,
    }


def _evidence(job: Job) -> str:
    """How it ended, and what is wrong with its record."""
    said = job.outcome.evidence if job.outcome else ""
    return said if job.trouble in said else "; ".join(filter(None, (said, job.trouble)))


def _attempt_view(past: PastAttempt, *, followed: bool = False) -> dict[str, Any]:
    """`followed`: there was another after it, which somebody's retries paid for."""
    rule = rule_of(past.cause)
    return {
        "attempt": past.attempt,
        "node": past.node or None,
        "worker": past.worker or None,
        "cause": past.cause or None,
        "fault": rule.fault if rule else None,
        "paid_by": rule.retry if rule and followed and rule.retry != "never" else None,
        "exit_code": past.exit_code,
        "evidence": past.evidence,
        "admitted": iso(past.admitted),
        "started": iso(past.started),
        "finished": iso(past.ended),
    }


def _newest_attempt(job: Job) -> list[dict[str, Any]]:
    """The attempt that holds now or that ended the job; none while it waits."""
    if job.state is State.WAITING or job.times.admitted is None:
        return []
    outcome = job.outcome
    return [
        _attempt_view(
            PastAttempt(
                attempt=job.attempt,
                node=job.node,
                worker=job.worker,
                cause=outcome.cause.value if outcome else "",
                evidence=outcome.evidence if outcome else "",
                exit_code=outcome.exit_code if outcome else None,
                admitted=job.times.admitted,
                started=job.times.started,
                ended=job.times.finished,
            )
        )
    ]


def job_of_view(shown: Mapping[str, Any], archived: Archived | None = None) -> Job:
    """The job that a view, perhaps an older release's, shows. Its environment is no part of a view. Raises ValueError.

    What this release does not know is left out; what the older one did not have gets its default.
    """

    def known(model: type[BaseModel], fields: Mapping[str, Any] | None) -> dict[str, Any]:
        return {name: value for name, value in (fields or {}).items() if name in model.model_fields}

    try:
        own = known(Assignment, shown) | {"requests": known(Request, shown["requests"])}
        ending = known(Outcome, shown) | {
            "usage": known(Usage, shown.get("usage")),
            "log": known(LogInfo, shown.get("log")),
        }
        return Job(
            assignment=Assignment.model_validate({name: value for name, value in own.items() if value is not None}),
            state=State(shown["state"]),
            attempt=shown["attempt"],
            node=shown["node"] or "",
            worker=shown["worker"] or "",
            times=Times.model_validate({name: _milliseconds(shown["times"].get(name)) for name in Times.model_fields}),
            outcome=Outcome.model_validate(ending) if shown.get("cause") else None,
            failures=shown.get("spent", {}).get("own", 0),
            infra_failures=shown.get("spent", {}).get("infrastructure", 0),
            past=tuple(
                _past_attempt(each) for each in shown.get("attempts", ()) if each["attempt"] != shown["attempt"]
            ),
            archived=archived,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"is no view of a job: {error!r}") from None


def _past_attempt(shown: Mapping[str, Any]) -> PastAttempt:
    told = {name: shown.get(name) for name in PastAttempt.model_fields if shown.get(name) is not None}
    times = {name: _milliseconds(shown.get(name)) for name in ("admitted", "started")}
    return PastAttempt.model_validate(told | times | {"ended": _milliseconds(shown.get("finished"))})


def _milliseconds(text: str | None) -> int | None:
    """ISO 8601 → epoch milliseconds."""
    return round(datetime.fromisoformat(text).timestamp() * 1000) if text else None
