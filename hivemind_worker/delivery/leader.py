"""A thread that leads one group of the events whenever it can, and does its duty while it does."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

import structlog

from hivemind_worker.domain.errors import HiveMindError
from hivemind_worker.store.outbox import Outbox, Term, TermOver

log = structlog.get_logger()

#: seconds between two looks whether the lead is free; a leader that leaves in order is replaced that soon
STANDBY = 1.0
#: seconds that a leader may rest without a sign of life: a fraction of the shortest term
SIGN = 3.0


#: what /health says of a far side for which a term was too short
RAN_OUT = "not while the lead of a bridge lasts; what it was asked is begun anew"


class Duty(Protocol):
    """What a leader does."""

    def serve(self, term: Term, stopping: threading.Event) -> None:
        """Work until `stopping` is set. Raises TermOver, StoreUnavailable; both start the duty anew some time.

        The trouble that is noted may be a term's before; it is taken away once a piece of work has come to its end.
        """

    def close(self) -> None:
        """Give back what it holds; called once, after the last `serve`, or while one hangs."""


class Leader:
    """The thread. It outlives whatever goes wrong with Redis, the duty's far side, or the duty itself."""

    def __init__(self, outbox: Outbox, duty: Duty) -> None:
        self._outbox = outbox
        self._duty = duty
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"leader {outbox.group}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Ask it to end; wait for that so many seconds. What is not settled is taken again by the next leader."""
        self._stopping.set()
        self._thread.join(timeout)
        self._duty.close()

    def _run(self) -> None:
        replace = True  # once: whoever leads from this place when we begin is our predecessor, not a twin
        ran_out = False
        waits = backoff(0.2, 5.0)
        while not self._stopping.is_set():
            try:
                term = self._outbox.lead(replace=replace)
                replace = False
                if term is None:
                    ran_out = False
                    self._stopping.wait(STANDBY)
                    continue
                try:
                    if ran_out:
                        term.note(trouble=RAN_OUT)
                    self._duty.serve(term, self._stopping)
                    waits = backoff(0.2, 5.0)
                finally:
                    term.leave()
            except TermOver:
                ran_out = self._ran_out()
                self._stopping.wait(STANDBY)
            except HiveMindError as error:
                log.info("leader waits", group=self._outbox.group, why=str(error))
                self._stopping.wait(next(waits))
            except Exception:
                log.exception("leader stumbled", group=self._outbox.group)
                self._stopping.wait(next(waits))

    def _ran_out(self) -> bool:
        """Whether the term that is over ended of itself: nobody has taken the lead. Says which it was."""
        with suppress(HiveMindError):
            if not self._outbox.led():
                log.warning("the term ran out: a step took longer", group=self._outbox.group)
                return True
        log.warning("another process leads now", group=self._outbox.group)
        return False


def backoff(first: float, most: float) -> Iterator[float]:
    """Seconds to wait: doubled each time up to `most`, less a random part, so that many do not come back at once."""
    wait = first
    while True:
        yield wait * (0.5 + random.random() / 2)  # noqa: S311 - spreads load, guards nothing
        wait = min(most, wait * 2)


def rest(term: Term, stopping: threading.Event, seconds: float) -> None:
    """Wait, with a sign of life now and then. Raises TermOver, StoreUnavailable."""
    while seconds > 0 and not stopping.is_set():
        stopping.wait(min(seconds, SIGN))
        seconds -= SIGN
        term.note()
