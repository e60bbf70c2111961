"""Admission's loop: told of an arrival or a release, it plans, reserves and sends hints; every beat it heals.

One daemon thread per worker owns everything here. It waits on Redis' channels, never on a bare timer: the beat is the
deadline of that wait. Redis away: it keeps trying, and nothing is admitted meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from hivemind_worker.admission.policy import plan
from hivemind_worker.admission.recovery import Absences, Hints
from hivemind_worker.admission.running import Running
from hivemind_worker.domain.errors import NotFound, StoreUnavailable
from hivemind_worker.domain.node import Node, Reservation, total
from hivemind_worker.store.jobs import JobStore
from hivemind_worker.store.keys import Keys
from hivemind_worker.store.ledger import Ledger
from hivemind_worker.store.wakeups import Ear

log = structlog.get_logger()

#: pause before Redis is tried again after it failed to answer, seconds
RECONNECT_PAUSE = 0.2
#: plans made on one word when siblings take jobs from under each other; the next word or beat goes on
PLANS_PER_WORD = 5


class Controller:
    """Admits jobs to one worker of one node. `describe` measures the node; `send` puts a hint on the worker's queue."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        ledger: Ledger,
        keys: Keys,
        ear: Ear,
        running: Running[Any],
        node: str,
        worker: str,
        describe: Callable[[], Node],
        ready: Callable[[], bool],
        send: Callable[[str, int], None],
        deaf: Callable[[], None],
        beat: float,
        patience: float,
        lease: float,
    ) -> None:
        self._jobs, self._ledger, self._keys, self._ear = jobs, ledger, keys, ear
        self._running, self._name, self._worker = running, node, worker
        self._describe, self._ready, self._send = describe, ready, send
        self._deaf = deaf
        self._beat_seconds, self._patience, self._lease = beat, patience, lease
        self._hints = Hints(beat)
        self._absences = Absences()
        self._stopping = threading.Event()
        self._next_beat = 0.0
        self._node: Node | None = None
        self._away = False
        self._thread = threading.Thread(target=self._run, name="admission", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Stop admitting; give the lease back when Redis answers. Harmless to repeat."""
        self._stopping.set()
        try:
            self._ledger.poke()
        except StoreUnavailable:
            log.info("admission ends at its next beat: redis is away")
        if self._thread.is_alive():
            self._thread.join(timeout)

    def close(self) -> None:
        """Admit nothing more; returns at once."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
                if self._away:
                    self._away = False
                    log.info("redis is back")
            except StoreUnavailable as error:
                self._absences.forget()
                if not self._away:
                    self._away = True
                    log.warning("redis is away; nothing is admitted", error=str(error))
                self._next_beat = 0.0
                self._stopping.wait(RECONNECT_PAUSE)
            except Exception:
                # The loop is the node's heart: one bad record must not stop it.
                log.exception("admission stumbled")
                self._stopping.wait(RECONNECT_PAUSE)
        self._retire()

    def _turn(self) -> None:
        if time.monotonic() >= self._next_beat:
            self._beat()
            self._next_beat = time.monotonic() + self._beat_seconds
        self._admit()
        self._listen()

    def _listen(self) -> None:
        """Wait for a word until the beat is due, then take in all that has been said already."""
        word = self._ear.listen(max(0.001, self._next_beat - time.monotonic()))
        while word is not None and not self._stopping.is_set():
            if word.channel == self._keys.wake:
                if word.data == "node":
                    self._node = None
            else:
                self._pass_on_stops([word.data])
            word = self._ear.listen(0)

    def _beat(self) -> None:
        measured = self._describe()
        self._ledger.announce(measured, worker=self._worker, lease_seconds=self._lease)
        self._node = None
        self._pass_on_stops(self._running.ids())
        self._heal()

    def _heal(self) -> None:
        """The one rule of recovery: a row of mine whose job I do not run gets its hint again."""
        rows = self._ledger.rows(self._name)
        self._adopt(rows)
        self._hints.heard(self._running.take_entered())
        mine = {task_id: row.attempt for task_id, row in rows.items() if row.worker == self._worker}
        for task_id in self._hints.overdue(mine, self._running.ids(), time.monotonic()):
            log.info("hint sent again", job_id=task_id, attempt=mine[task_id])
            self._hint(task_id, mine[task_id])
        if self._hints.unanswered(time.monotonic()):
            self._deaf()

    def _adopt(self, rows: dict[str, Reservation]) -> None:
        """Take over the rows of this node's dead workers, this worker under an older name among them."""
        others = {row.worker for row in rows.values()} - {self._worker}
        living = self._ledger.living(self._name, others) if others else frozenset()
        dead = self._absences.dead(others, living, time.monotonic())
        for task_id, row in rows.items():
            if row.worker in dead and self._ledger.adopt(self._name, task_id, row, self._worker):
                log.warning("job adopted from a dead worker", job_id=task_id, attempt=row.attempt, worker=row.worker)

    def _pass_on_stops(self, task_ids: list[str]) -> None:
        """The store decides whether a stop was asked for; a word on a channel only says to look."""
        for task_id, grace in self._jobs.stop_graces(task_ids).items() if task_ids else ():
            self._running.stop(task_id, grace)

    def _admit(self) -> None:
        """Plan and reserve; a plan that the guard found stale is made anew, a few times at most."""
        for _ in range(PLANS_PER_WORD):
            if self._stopping.is_set() or not self._ready() or not self._admit_once():
                return

    def _admit_once(self) -> bool:
        """One plan. Whether another is due at once: part of it was stale."""
        node = self._fresh_node()
        if node is None:
            return False
        rows = self._ledger.rows(node.node)
        free = (node.allocatable - total(list(rows.values()))).floor()
        waiting = self._ledger.candidates(free) if free.slots else []
        if not waiting:
            return False
        now = self._ledger.now_ms()
        chosen = plan(waiting, node, rows, worker=self._worker, now=now, patience=self._patience)
        answers = self._ledger.reserve(node.node, self._worker, chosen.claims)
        for claim, answer in zip(chosen.claims, answers, strict=True):
            if answer == "ok":
                self._hint(claim.task_id, claim.row.attempt)
        stale = any(answer != "ok" for answer in answers)
        if stale:
            self._node = None
        return stale and "closed" not in answers

    def _fresh_node(self) -> Node | None:
        if self._node is None:
            try:
                self._node = self._ledger.node(self._name)
            except NotFound:
                return None
        return self._node

    def _hint(self, task_id: str, attempt: int) -> None:
        """A hint has no guarantee: one that cannot be sent is sent again at the next beat."""
        try:
            self._send(task_id, attempt)
        except Exception as error:  # noqa: BLE001 - kombu has many ways to say that the broker is away
            log.warning("hint not sent", job_id=task_id, attempt=attempt, error=str(error))
        finally:
            self._hints.sent(task_id, attempt, time.monotonic())

    def _retire(self) -> None:
        try:
            self._ledger.retire(self._name, self._worker)
        except StoreUnavailable:
            log.info("lease left to lapse: redis is away")
        finally:
            self._ear.close()
