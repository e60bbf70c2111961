"""Admission's loop: told of an arrival or a release, it plans and reserves; every beat it heals.

One daemon thread per worker owns everything here. It waits on Redis' channels, never on a bare timer: the beat is the
deadline of that wait. Redis away: it keeps trying, and nothing is admitted meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import structlog

from hivemind_worker.admission.admitter import Admitter
from hivemind_worker.admission.healer import Healer
from hivemind_worker.admission.hinter import Hinter
from hivemind_worker.admission.naming import Name
from hivemind_worker.admission.partition import Partition
from hivemind_worker.admission.returning import Return
from hivemind_worker.admission.running import Running
from hivemind_worker.domain.errors import NameHeld, StoreUnavailable
from hivemind_worker.domain.node import Node
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
    """Admits jobs to one worker of one node. `describe` measures the node; `partition` is told of every heartbeat."""

    def __init__(
        self,
        *,
        jobs: JobStore,
        ledger: Ledger,
        keys: Keys,
        ear: Ear,
        running: Running[Any],
        describe: Callable[[], Node],
        ready: Callable[[], bool],
        hinter: Hinter,
        healer: Healer,
        partition: Partition | None,
        back: Return,
        beat: float,
        admitter: Admitter,
        name: Name,
    ) -> None:
        self._jobs, self._ledger, self._keys, self._ear = jobs, ledger, keys, ear
        self._running, self._name = running, name
        self._describe, self._ready, self._hinter, self._healer = describe, ready, hinter, healer
        self._partition, self._back = partition, back
        self._beat_seconds, self._admitter = beat, admitter
        self._stopping = threading.Event()
        self._next_beat = 0.0
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
                self._healer.redis_is_away()
                self._name.redis_is_away()
                if not self._away:
                    self._away = True
                    log.warning("redis is away; nothing is admitted", error=str(error))
                self._next_beat = 0.0
                self._stopping.wait(RECONNECT_PAUSE)
            except NameHeld:
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
                    self._admitter.forget_nodes()
            else:
                self._pass_on_stops([word.data])
            word = self._ear.listen(0)

    def _beat(self) -> None:
        try:
            self._announce()
        except (StoreUnavailable, NameHeld):
            raise
        except Exception:
            log.exception("beat stumbled")  # over what only the healer can put right, it may be
        self._healer.heal()

    def _announce(self) -> None:
        """Say that this worker lives and what the node has, and look at what the bodies have to be told."""
        measured = self._describe()
        at = time.monotonic()
        self._name.beat(measured)
        self._back.heard()
        if self._partition is not None:
            self._partition.heard(at)
        self._admitter.look()  # before attempts are taken up: their containers' caps go by it
        self._admitter.make_up_accounts()
        self._pass_on_stops(self._running.ids())

    def _pass_on_stops(self, task_ids: list[str]) -> None:
        """The store decides whether a stop was asked for; a word on a channel only says to look."""
        for task_id, grace in self._jobs.stop_graces(task_ids).items() if task_ids else ():
            self._running.stop(task_id, grace)

    def _admit(self) -> None:
        """Plan and reserve; a plan that the guard found stale is made anew, a few times at most."""
        for _ in range(PLANS_PER_WORD):
            if self._stopping.is_set() or not self._ready() or not self._admitter.once():
                return

    def _retire(self) -> None:
        try:
            self._name.retire()
        except StoreUnavailable:
            log.info("lease left to lapse: redis is away")
        finally:
            self._ear.close()
