"""Faults that are planted for the checker to find: real harm done to the real stack, once each, behind its back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import redis

from hivemind_worker.execution.wire import Address, call
from hivemind_worker.store.connection import fields
from hivemind_worker.store.keys import Keys
from hivemind_worker.store.records import job_of
from tests.chaos.journal import Entry
from tests.chaos.stack import REDIS, Stack

KEYS = Keys("hivemind")


class Planter:
    """Does the named harm to jobs that come along, each job harmed in one way only. Without names it does nothing."""

    def __init__(self, stack: Stack, names: str) -> None:
        self._stack = stack
        self._client = redis.Redis(port=REDIS, decode_responses=True)
        self._left: dict[str, Callable[[Entry], bool]] = {
            name: getattr(self, "_" + name.replace(" ", "_")) for name in names.split(",") if name
        }
        self._harmed: set[str] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=stack.journal.guarded("planter", self._run), name="planter", daemon=True)

    def start(self) -> None:
        """Begin."""
        if self._left:
            self._thread.start()

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(30)

    def _run(self) -> None:
        """Offer what has just happened to each harm that is still to be done."""
        seen = 0
        while self._left and not self._stopping.is_set():
            self._stack.journal.await_more("event", seen, 0.5)
            events = self._stack.journal.of("event")
            for event in events[seen:]:
                for name, harm in list(self._left.items()):
                    if event["job"] not in self._harmed and self._tried(harm, event):
                        self._stack.journal.note("planted", what=name, job=event["job"])
                        self._harmed.add(event["job"])
                        del self._left[name]
            seen = len(events)

    def _tried(self, harm: Callable[[Entry], bool], event: Entry) -> bool:
        try:
            return harm(event)
        except Exception as error:  # noqa: BLE001 - a job that moves on meanwhile is no occasion; the next one may be
            self._stack.journal.note("not planted", what=harm.__name__, job=event["job"], why=repr(error)[:300])
            return False

    # --- harms: whether the event was the occasion -------------------------------------------------------

    def _lost(self, event: Entry) -> bool:
        """An acknowledged job is forgotten while it waits."""
        acknowledged = {entry["job"] for entry in self._stack.journal.of("ack")}
        job = event["job"]
        if event["state"] != "waiting" or job not in acknowledged:
            return False
        shape = self._job(job).assignment.line
        for line in (KEYS.waiting(shape), KEYS.waiting_all, KEYS.active, KEYS.index):
            self._client.zrem(line, job)
        return bool(self._client.delete(KEYS.job(job)))

    def _rerun(self, event: Entry) -> bool:
        """A job that has ended goes back into the line."""
        if event["state"] != "completed":
            return False
        record, job = self._job(event["job"]), event["job"]
        self._client.hset(KEYS.job(job), "state", "waiting")
        self._client.hdel(KEYS.job(job), "outcome", "finished")
        self._client.persist(KEYS.job(job))
        shape = record.assignment.line
        for line in (KEYS.waiting(shape), KEYS.waiting_all, KEYS.active):
            self._client.zadd(line, {job: 0})
        self._client.sadd(KEYS.shapes, shape)
        self._client.publish(KEYS.wake, "arrival")
        return True

    def _changed(self, event: Entry) -> bool:
        """An outcome is written over."""
        if event["state"] != "completed":
            return False
        outcome = json.loads(self._client.hget(KEYS.job(event["job"]), "outcome") or "{}")
        changed = json.dumps(outcome | {"cause": "exit", "exit_code": 7})
        self._client.hset(KEYS.job(event["job"]), mapping={"state": "failed", "outcome": changed})
        return True

    def _dropped(self, event: Entry) -> bool:
        """A piece of a log is lost, and the rest moves up so that no number is missing."""
        chunks = self._chunks(event)
        if len(chunks) < 3:
            return False
        self._rewrite(event["job"], [body for _, body in chunks[:1] + chunks[2:]])
        return True

    def _doubled(self, event: Entry) -> bool:
        """A piece of a log comes twice."""
        chunks = self._chunks(event)
        if len(chunks) < 3:
            return False
        self._rewrite(event["job"], [body for _, body in chunks[:2] + chunks[1:]])
        return True

    def _twice(self, event: Entry) -> bool:
        """A second container of an attempt, which nobody removes."""
        if event["state"] != "running":
            return False
        address = Address.parse(self._stack.engine.url)
        name = f"/v1.41/containers/hm-{event['job']}-{event['attempt']}/json"
        try:
            found = call(address, "GET", name, timeout=10)
        except Exception:  # noqa: BLE001 - it was quicker
            return False
        body = {**found["Config"], "HostConfig": found["HostConfig"], "Labels": {}}
        made = call(address, "POST", f"/v1.41/containers/create?name=rogue-{event['job']}", body, timeout=30)
        call(address, "POST", f"/v1.41/containers/{made['Id']}/start", timeout=30)
        return True

    def _released(self, event: Entry) -> bool:
        """What running jobs hold is given back before they end, again and again for a while."""
        if event["state"] != "running":
            return False
        for _ in range(500):
            for node in self._stack.nodes:
                for job in self._client.hkeys(KEYS.reservations(node)):
                    if self._client.hget(KEYS.job(job), "state") == "running":
                        self._client.hdel(KEYS.reservations(node), job)
            self._client.publish(KEYS.wake, "release")
            if self._stopping.wait(0.02):
                break
        return True

    # --- beneath -----------------------------------------------------------------------------------------

    def _job(self, task_id: str) -> Any:
        return job_of(fields(self._client.hgetall(KEYS.job(task_id))))

    def _chunks(self, event: Entry) -> list[tuple[str, dict[bytes, bytes]]]:
        if event["state"] != "completed":
            return []
        raw = redis.Redis(port=REDIS)
        try:
            return raw.xrange(KEYS.log(event["job"]))  # type: ignore[no-any-return]
        finally:
            raw.close()

    def _rewrite(self, task_id: str, bodies: list[dict[bytes, bytes]]) -> None:
        self._client.delete(KEYS.log(task_id))
        for number, body in enumerate(bodies, 1):
            self._client.xadd(KEYS.log(task_id), body, id=f"{number}-0")  # type: ignore[arg-type]
        self._client.expire(KEYS.log(task_id), 600)
