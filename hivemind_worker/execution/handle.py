"""The handle on one running attempt: how other threads tell its body to stop the job, or to let go of it."""

from __future__ import annotations

import os
import select
import threading
import time

from hivemind_worker.domain.errors import JobRefused
from hivemind_worker.domain.outcome import Cause


class Detached(Exception):
    """The body lets go and ends at once: its worker leaves, or its attempt was fenced. Its container goes on."""


class StoppedEarly(JobRefused):
    """It was stopped before its container started."""

    code = "cancelled"
    cause = Cause.CANCELLED


class CutOff(JobRefused):
    """Its node was cut off from Redis before its container started."""

    code = "cut_off"
    cause = Cause.NODE_LOST


class Handle:
    """One per attempt that this worker runs. Owned by the body's thread; any thread may `stop`, `detach` and `fence`.

    Backed by an eventfd, so that the body waits for the engine's sockets and for these words in one call.
    """

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._lock = threading.Lock()
        self._open = True
        self._grace: float | None = None
        self._detached = False
        self._fenced = False
        self._cut_off = False
        self._born = _up()

    @property
    def age(self) -> float:
        """Seconds since the worker took the attempt up, a suspended machine's included."""
        return _up() - self._born

    def stop(self, grace: float) -> None:
        """Ask for a stop: SIGTERM, `grace` seconds, SIGKILL. The first grace given stands."""
        with self._lock:
            if self._grace is None:
                self._grace = grace
                self._wake()

    def detach(self) -> None:
        """Let go of the attempt: the worker leaves."""
        with self._lock:
            self._detached = True
            self._wake()

    def fence(self) -> None:
        """The attempt seems to be in other hands: let go of it, and look at its record before anything else."""
        with self._lock:
            self._fenced = self._detached = True
            self._wake()

    def cut_off(self) -> None:
        """The node has been cut off from Redis for too long: end the container, of `node_lost`."""
        with self._lock:
            self._cut_off = True
            self._wake()

    @property
    def is_cut_off(self) -> bool:
        """Whether the container is to end because its node was cut off."""
        return self._cut_off

    @property
    def stop_requested(self) -> float | None:
        """The grace in seconds of the stop that was asked for; None: none was."""
        return self._grace

    @property
    def detached(self) -> bool:
        """Whether the body is to let go: the worker leaves, or the attempt was fenced."""
        return self._detached

    @property
    def fenced(self) -> bool:
        """Whether the attempt seems to be in other hands."""
        return self._fenced

    def fileno(self) -> int:
        """Readable from a word on until `drain`."""
        return self._fd

    def drain(self) -> None:
        """Take the words in; what they said stays in the properties."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return

    def wait(self, seconds: float) -> bool:
        """Rest until a new word, `seconds` at most; whether one came."""
        woken = _readable(self._fd, seconds)
        if woken:
            self.drain()
        return woken

    def wait_detached(self, seconds: float) -> bool:
        """Rest until the worker leaves, `seconds` at most; whether it does. A stop does not end the rest."""
        end = time.monotonic() + seconds
        while not self._detached:
            left = end - time.monotonic()
            if left <= 0:
                return False
            self.wait(left)
        return True

    def close(self) -> None:
        """Give the eventfd back. Words that come later are not heard."""
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._fd)

    def _wake(self) -> None:
        if self._open:
            os.eventfd_write(self._fd, 1)


def _up() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _readable(fd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0.0, seconds) * 1000))
