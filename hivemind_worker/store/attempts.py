"""The steps of an attempt: each one script, refused to whoever the attempt does not belong to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hivemind_worker.domain.errors import AdoptedAttempt, StaleAttempt
from hivemind_worker.domain.job import Job, State
from hivemind_worker.domain.outcome import Outcome
from hivemind_worker.domain.retry import Step
from hivemind_worker.store.connection import Scripts, Words, fields, named_faults, text
from hivemind_worker.store.keys import Keys
from hivemind_worker.store.records import job_of

#: characters of evidence that a past attempt keeps
EVIDENCE = 500


class AttemptSteps:
    """The part of the job store that bodies and recovery use. Every call may raise StoreUnavailable."""

    def __init__(self, keys: Keys, scripts: Scripts, *, log_retention: int, record_retention: int) -> None:
        """Seconds that an ended job's log and record stay."""
        self._keys = keys
        self._scripts = scripts
        self._log_retention = log_retention
        self._record_retention = record_retention

    def claim(self, task_id: str, attempt: int, *, node: str, worker: str, boot: str = "") -> Job:
        """Take up an attempt. `boot` is one life of the worker's process.

        Raises StaleAttempt when it is not this worker's to run, RecordTooNew, RecordCorrupt.
        """
        keys = self._keys
        reply = self._scripts.run(
            "claim",
            [
                keys.job(task_id), keys.reservations(node), keys.events, keys.boot(boot),
                keys.secrets(task_id), keys.log(task_id),
            ],
            [task_id, attempt, worker, keys.changes(task_id), boot, keys.boot("")],
        )  # fmt: skip
        if reply is None:
            raise StaleAttempt(f"attempt {attempt} of {task_id} is not this worker's to run")
        record, secrets, log = reply
        beside = {"has_secrets": bool(secrets), "has_log": bool(log)}
        return job_of(fields(record), task_id).model_copy(update=beside)

    def advance(self, task_id: str, attempt: int, target: State, *, worker: str, ago: float = 0.0) -> None:
        """Move a held job forward to `target`, where it came `ago` seconds ago; no step back, no step twice.

        Raises StaleAttempt, AdoptedAttempt.
        """
        keys = self._keys
        done = self._scripts.run(
            "advance",
            [keys.job(task_id), keys.events],
            [task_id, attempt, worker, target.value, keys.changes(task_id), keys.reservations(""), int(ago * 1000)],
        )
        _refuse(done, task_id, attempt, f"before {target.value}")

    def finish(self, job: Job, outcome: Outcome) -> None:
        """End a job held by `job.worker` and release its reservation. Raises StaleAttempt, AdoptedAttempt."""
        keys, task_id = self._keys, job.task_id
        done = self._scripts.run(
            "finish",
            [
                keys.job(task_id), keys.reservations(job.node), keys.active, keys.events,
                keys.secrets(task_id), keys.log(task_id), keys.runs, keys.runs_used,
            ],
            [
                task_id, job.attempt, job.worker, outcome.state, outcome.model_dump_json(), outcome.cause.value,
                self._log_retention, self._record_retention, keys.changes(task_id), keys.wake,
            ],
            lasting=True,
        )  # fmt: skip
        _refuse(done, task_id, job.attempt, "before its end")

    def retry(self, job: Job, outcome: Outcome, step: Step) -> bool:
        """Send a job held by `job.worker` back to the line. False: a stop was asked for, finish it instead.

        Raises StaleAttempt, AdoptedAttempt.
        """
        keys, task_id = self._keys, job.task_id
        shape = job.assignment.line
        done = self._scripts.run(
            "retry",
            [
                keys.job(task_id), keys.reservations(job.node), keys.waiting(shape), keys.waiting_all,
                keys.shapes, keys.delayed, keys.events,
            ],
            [
                task_id, job.attempt, job.worker, shape, outcome.cause.value, outcome.evidence[:EVIDENCE],
                "" if outcome.exit_code is None else outcome.exit_code, step.budget, int(step.delay * 1000),
                keys.changes(task_id), keys.wake,
            ],
            lasting=True,
        )  # fmt: skip
        if text(done) == "stop":
            return False
        _refuse(done, task_id, job.attempt, "before its retry")
        return True

    def prove(self, held: Mapping[str, int], *, worker: str) -> None:
        """Bodies of this worker have lived long enough with these attempts: they take no worker down."""
        keys = self._keys
        calls: list[tuple[Words, Words]] = [([keys.job(i)], [attempt, worker]) for i, attempt in held.items()]
        for answer in self._scripts.run_many("prove", calls) if calls else ():
            if isinstance(answer, Exception):
                with named_faults():
                    raise answer

    def rest(self, held: Mapping[str, int], *, boot: str) -> None:
        """Bodies of this boot let go of these attempts in order, their worker alive."""
        calls: list[tuple[Words, Words]] = [([self._keys.job(i)], [attempt, boot]) for i, attempt in held.items()]
        if calls:
            self._scripts.run_many("rest", calls)

    def hold_back(self, task_id: str, attempt: int, *, worker: str, boot: str) -> bool:
        """Let a job on its last chance wait while this boot shows that it lives without it; whether it is acquitted."""
        return bool(self._scripts.run("hold_back", [self._keys.job(task_id)], [attempt, worker, boot]))

    def downs(self, task_ids: Sequence[str]) -> dict[str, int]:
        """How many workers each of these has taken down in a row; those with none, or no number, are left out."""
        with named_faults():
            pipe = self._scripts.client.pipeline(transaction=False)
            for task_id in task_ids:
                pipe.hget(self._keys.job(task_id), "downs")
            replies = pipe.execute(raise_on_error=False)
        counts = zip(task_ids, replies, strict=True)
        return {i: int(each) for i, each in counts if isinstance(each, bytes) and each.isdigit()}

    def lose(self, job: Job, outcome: Outcome, step: Step | None, *, heartbeat: str) -> bool:
        """Take a held job from a lost node, whose heartbeat was and is this one; False: it is not so any more."""
        keys, task_id = self._keys, job.task_id
        shape = job.assignment.line
        words = f"[hivemind] node {job.node} was lost: what attempt {job.attempt} wrote since is missing here\n"
        done = self._scripts.run(
            "lose",
            [
                keys.job(task_id), keys.reservations(job.node), keys.node(job.node), keys.waiting(shape),
                keys.waiting_all, keys.shapes, keys.delayed, keys.active, keys.events, keys.secrets(task_id),
                keys.log(task_id),
            ],
            [
                task_id, job.attempt, job.worker, heartbeat, "waiting" if step else outcome.state, outcome.cause.value,
                outcome.evidence[:EVIDENCE], outcome.model_dump_json(), shape, int(step.delay * 1000) if step else 0,
                self._log_retention, self._record_retention, keys.changes(task_id), keys.wake, words,
            ],
        )  # fmt: skip
        return text(done) == "done"


def _refuse(answer: Any, task_id: str, attempt: int, when: str) -> None:
    """Raises StaleAttempt, AdoptedAttempt unless the script said 'done'."""
    verdict = text(answer)
    if verdict == "adopted":
        raise AdoptedAttempt(f"attempt {attempt} of {task_id} was adopted by another worker {when}")
    if verdict != "done":
        raise StaleAttempt(f"attempt {attempt} of {task_id} was fenced off {when}")
