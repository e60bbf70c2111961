"""Waiting out an engine or a Redis that is away: nobody's job fails for that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog

from hivemind_worker.domain.errors import EngineUnavailable, StoreUnavailable
from hivemind_worker.execution.handle import CutOff, Detached, Handle, StoppedEarly

log = structlog.get_logger()
T = TypeVar("T")

FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0


class Backoff:
    """Pauses that double, in seconds; a word on the handle ends one early."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._pause = FIRST_PAUSE
        self.tries = 0

    def rest(self) -> None:
        """Pause. Raises Detached."""
        self.tries += 1
        if not self._handle.detached:
            self._handle.wait(self._pause)
        if self._handle.detached:
            raise Detached
        self._pause = min(self._pause * 2, LONGEST_PAUSE)


def patiently(handle: Handle, call: Callable[[], T], *, started: bool = False) -> T:
    """Do it as soon as the engine and Redis let us.

    Raises Detached, and StoppedEarly or CutOff when the job must end meanwhile and nothing was `started` yet.
    """
    backoff = Backoff(handle)
    while True:
        check(handle, started=started)
        try:
            return call()
        except (EngineUnavailable, StoreUnavailable) as error:
            if backoff.tries == 0:
                log.warning("attempt waits", why=str(error))
            backoff.rest()


def check(handle: Handle, *, started: bool = False) -> None:
    """Raise Detached, StoppedEarly or CutOff when the handle says so."""
    if handle.detached:
        raise Detached
    if handle.stop_requested is not None and not started:
        raise StoppedEarly("stopped before its container started")
    if handle.is_cut_off and not started:
        raise CutOff
