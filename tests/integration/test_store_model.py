"""Any order of steps, by workers alive, dead or fenced, with damage done by hand in between.

After one round of healing the ledger is the live attempts and nothing else, the lines are the waiting jobs; no job ends
twice, no attempt begins twice, and a fenced hand changes nothing.
"""

from __future__ import annotations

from collections import Counter

import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import StaleAttempt
from hivemind_worker.domain.fence import standing
from hivemind_worker.domain.job import HELD, Job, State
from hivemind_worker.domain.line import Claim
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.retry import Step
from tests.builders import assignment, new_job, node, row

IDS = [f"j{i}" for i in range(3)]
WORKERS = {"w1": "n1", "w2": "n1", "w3": "n2"}
SHAPE = assignment().line
ids, workers, nodes = st.sampled_from(IDS), st.sampled_from(sorted(WORKERS)), st.sampled_from(["n1", "n2"])


class Site(RuleBasedStateMachine):
    """Two nodes, three workers, three ids that come again once their jobs have been forgotten."""

    stores: Stores

    def __init__(self) -> None:
        super().__init__()
        self.redis: redis.Redis = self.stores.redis
        self.keys = self.stores.keys
        #: what each worker believes to run
        self.believed: dict[tuple[str, str], Job] = {}
        self.damaged = False

    @initialize()
    def begin(self) -> None:
        self.redis.flushdb()
        for name in ("n1", "n2"):
            self.announce(name)

    def announce(self, name: str) -> None:
        for worker, home in WORKERS.items():
            if home == name:
                self.stores.ledger.announce(node(name, slots=2), worker=worker, lease_seconds=60)

    def records(self) -> dict[str, Job]:
        return {i: job for i, job in zip(IDS, self.stores.jobs.get_many(IDS), strict=True) if job is not None}

    # --- what jobs and workers do -------------------------------------------------------------------------------

    @rule(task_id=ids, retries=st.integers(0, 2))
    def create(self, task_id: str, retries: int) -> None:
        self.stores.jobs.create_many([new_job(task_id, retries=retries)])

    @rule(worker=workers, task_id=ids)
    def reserve(self, worker: str, task_id: str) -> None:
        job = self.records().get(task_id)
        claim = Claim(task_id, SHAPE, row(job.attempt + 1 if job else 1, worker))
        self.stores.ledger.reserve(WORKERS[worker], worker, [claim])

    @rule(worker=workers, task_id=ids)
    def claim(self, worker: str, task_id: str) -> None:
        job = self.records().get(task_id)
        try:
            held = self.stores.jobs.claim(task_id, job.attempt if job else 1, node=WORKERS[worker], worker=worker)
        except StaleAttempt:
            return
        self.believed[worker, task_id] = held

    @precondition(lambda self: self.believed)
    @rule(pick=st.integers(0, 20), write=st.sampled_from(["advance", "finish", "own", "infrastructure", "delayed"]))
    def write(self, pick: int, write: str) -> None:
        """A body goes on with what it believes to be its own, however long it slept."""
        (worker, task_id), job = sorted(self.believed.items(), key=lambda one: one[0])[pick % len(self.believed)]
        before = self.records().get(task_id)
        whose = standing(before, job.attempt, worker)
        jobs = self.stores.jobs
        steps = {"own": Step("failures"), "infrastructure": Step("infra_failures"), "delayed": Step("failures", 3600)}
        try:
            if write == "advance":
                jobs.advance(task_id, job.attempt, State.COLLECTING, worker=worker)
            elif write == "finish":
                jobs.finish(job, Outcome(cause=Cause.EXIT, exit_code=1, evidence=f"{worker} {job.attempt}"))
            else:
                jobs.retry(job, Outcome(cause=Cause.EXIT, exit_code=1), steps[write])
        except StaleAttempt:
            assert whose != "mine"
            assert self.records().get(task_id) == before
            del self.believed[worker, task_id]
            return
        if whose != "mine":  # the repeat of its own last word
            assert self.records().get(task_id) == before

    @rule(task_id=ids)
    def cancel(self, task_id: str) -> None:
        if task_id in self.records():
            self.stores.jobs.cancel(task_id, 1.0)

    @rule(task_id=ids)
    def adopt(self, task_id: str) -> None:
        """n1's workers take over from each other."""
        held = self.stores.ledger.rows("n1").get(task_id)
        if held is not None and held.worker in ("w1", "w2"):
            self.redis.delete(self.keys.lease("n1", held.worker))
            self.stores.ledger.adopt("n1", task_id, held, "w2" if held.worker == "w1" else "w1")

    @rule(name=nodes)
    def lose(self, name: str) -> None:
        heartbeat = self.stores.ledger.heartbeats()[name]
        for job in self.records().values():
            if job.node == name and job.state in HELD:
                lost = Outcome(cause=Cause.NODE_LOST)
                step = Step("infra_failures") if job.stop_grace is None else None
                assert self.stores.jobs.lose(job, lost, step, heartbeat=heartbeat)

    @rule(task_id=ids, priority=st.integers(0, 9))
    def prioritize(self, task_id: str, priority: int) -> None:
        if task_id in self.records():
            self.stores.jobs.prioritize(task_id, priority)

    @rule(task_id=ids)
    def its_time_has_come(self, task_id: str) -> None:
        if self.redis.zscore(self.keys.delayed, task_id) is not None:
            self.redis.zadd(self.keys.delayed, {task_id: 1})
            self.redis.hset(self.keys.job(task_id), "not_before", 1)
            self.stores.ledger.promote()

    @rule(task_id=ids)
    def forget(self, task_id: str) -> None:
        """Retention ends."""
        job = self.records().get(task_id)
        if job is not None and job.state.terminal:
            self.redis.delete(self.keys.job(task_id), self.keys.log(task_id))
            self.redis.zrem(self.keys.index, task_id)
            self.redis.xtrim(self.keys.events, 0)
            self.believed = {key: held for key, held in self.believed.items() if key[1] != task_id}

    # --- damage by hand -------------------------------------------------------------------------------------------

    @rule(task_id=ids, name=nodes, what=st.sampled_from(["remove", "edit", "garble", "invent"]))
    def damage_row(self, task_id: str, name: str, what: str) -> None:
        rows = self.keys.reservations(name)
        there = self.redis.hexists(rows, task_id)
        if what == "remove":
            self.redis.hdel(rows, task_id)
        elif what == "invent" or there:
            body = "{" if what == "garble" else row(7, "w9", cpu=0.5).model_dump_json()
            self.redis.hset(rows, task_id, body)
        self.damaged = True

    @rule(task_id=ids, line=st.sampled_from(["active", "waiting", "shape", "shapes", "index"]), put=st.booleans())
    def damage_line(self, task_id: str, line: str, put: bool) -> None:
        keys = self.keys
        if line == "shapes":
            self.redis.delete(keys.shapes)
        else:
            name = {"active": keys.active, "waiting": keys.waiting_all, "index": keys.index}.get(
                line, keys.waiting(SHAPE)
            )
            if put:
                self.redis.zadd(name, {task_id: 5})
                if line == "shape":
                    self.redis.sadd(keys.shapes, SHAPE)
            else:
                self.redis.zrem(name, task_id)
        self.damaged = True

    @precondition(lambda self: self.damaged)
    @rule()
    def heal(self) -> None:
        audit = self.stores.audit
        for _ in range(2):
            for name in ("n1", "n2"):
                audit.rows(name)
            for batch in audit.active():
                audit.jobs(batch, active=True)
            for _ in audit.lines():
                pass
            for batch in audit.records():
                audit.jobs(batch)
        self.damaged = False

    # --- what always holds ------------------------------------------------------------------------------------------

    @invariant()
    def the_ledger_is_the_live_attempts_and_the_lines_are_the_waiting_jobs(self) -> None:
        if self.damaged:
            return
        records = self.records()
        for name in ("n1", "n2"):
            held = {
                i: (job.attempt, job.worker) for i, job in records.items() if job.state in HELD and job.node == name
            }
            rows = self.stores.ledger.rows(name)
            assert {i: (found.attempt, found.worker) for i, found in rows.items()} == held
            assert self.redis.hlen(self.keys.reservations(name)) == len(held)
        waiting = {i for i, job in records.items() if job.state is State.WAITING}
        delayed = {i for i in waiting if records[i].not_before is not None}
        assert self.members(self.keys.waiting_all) == waiting
        assert self.members(self.keys.delayed) == delayed
        # A line that `shapes` does not name is looked at by nobody, whatever somebody put into it.
        assert self.redis.sismember(self.keys.shapes, SHAPE) == bool(waiting - delayed)
        if waiting - delayed:
            assert self.members(self.keys.waiting(SHAPE)) == waiting - delayed
        assert self.members(self.keys.active) == {i for i, job in records.items() if not job.state.terminal}

    @invariant()
    def no_job_ends_twice(self) -> None:
        events = self.stores.events.recent(10_000)
        ends = Counter(event.task_id for event in events if event.state in ("completed", "failed", "stopped"))
        assert not [task_id for task_id, count in ends.items() if count > 1]

    @invariant()
    def no_attempt_is_admitted_twice(self) -> None:
        events = self.stores.events.recent(10_000)
        starts = Counter((event.task_id, event.attempt) for event in events if event.state == "admitted")
        assert not [attempt for attempt, count in starts.items() if count > 1]

    def members(self, key: str) -> set[str]:
        found: list[bytes] = self.redis.zrange(key, 0, -1)  # type: ignore[assignment]
        return {member.decode() for member in found}


def test_ledger_lines_and_ends_under_any_order_of_steps_and_damage(stores: Stores) -> None:
    Site.stores = stores
    # No shrinking: each step is a handful of round trips, and the steps that led there are few and printed as they are.
    patience = settings(
        phases=[Phase.generate],
        max_examples=100,
        stateful_step_count=60,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    run_state_machine_as_test(Site, settings=patience)  # type: ignore[no-untyped-call]
