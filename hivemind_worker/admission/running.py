"""What this worker runs right now: one entry per job, put there before its attempt is claimed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Stoppable(Protocol):
    """The part of an attempt's handle that others than its body may use."""

    def stop(self, grace: float) -> None:
        """Ask for the job's end."""

    def detach(self) -> None:
        """Ask the body to leave; the container goes on."""

    def fence(self) -> None:
        """Tell the body that its attempt seems to be in other hands."""

    def cut_off(self) -> None:
        """Tell the body to end its container: the node was cut off from Redis for too long."""


H = TypeVar("H", bound=Stoppable)


class Running(Generic[H]):
    """Handles by task_id. The lock guards the dict alone and is never held over a call into a handle."""

    def __init__(self) -> None:
        self._handles: dict[str, H] = {}
        self._lock = threading.Lock()
        self._entered: set[str] = set()
        self._held: dict[str, int] = {}
        self._owed: dict[str, Callable[[], None]] = {}
        self._leaving = False
        self._empty = threading.Event()
        self._empty.set()

    def enter(self, task_id: str, handle: H) -> bool:
        """Register; False when the job runs here already, or the worker is leaving."""
        with self._lock:
            self._entered.add(task_id)
            if self._leaving or task_id in self._handles:
                return False
            self._handles[task_id] = handle
            self._empty.clear()
            return True

    def hold(self, task_id: str, attempt: int) -> None:
        """The body has claimed this attempt: from now on the record must say that it is this worker's."""
        with self._lock:
            self._held[task_id] = attempt

    def release(self, task_id: str) -> None:
        """The body is about to give the attempt up, or has: what the record says is no news to it."""
        with self._lock:
            self._held.pop(task_id, None)

    def held(self) -> dict[str, int]:
        """The attempts that this worker's bodies have claimed and not yet given up, by task_id."""
        with self._lock:
            return dict(self._held)

    def owe(self, task_id: str, tell: Callable[[], None]) -> None:
        """Redis missed what the body had to tell of its attempt: whoever sees Redis answer is to `tell` it again."""
        with self._lock:
            self._owed[task_id] = tell

    def owed(self) -> dict[str, Callable[[], None]]:
        """What Redis has missed, by task_id. Told twice, it counts once."""
        with self._lock:
            return dict(self._owed)

    def told(self, task_id: str, tell: Callable[[], None]) -> None:
        """Redis knows it."""
        with self._lock:
            if self._owed.get(task_id) is tell:
                del self._owed[task_id]

    def leave(self, task_id: str) -> None:
        """Take out."""
        with self._lock:
            self._owed.pop(task_id, None)
            self._held.pop(task_id, None)
            self._handles.pop(task_id, None)
            if not self._handles:
                self._empty.set()

    def ids(self) -> list[str]:
        """The jobs that run here."""
        with self._lock:
            return list(self._handles)

    def take_entered(self) -> set[str]:
        """The jobs whose bodies have come in, or tried to, since the last time this was asked."""
        with self._lock:
            entered, self._entered = self._entered, set()
            return entered

    def stop(self, task_id: str, grace: float) -> bool:
        """Ask one to end; False when it does not run here."""
        with self._lock:
            handle = self._handles.get(task_id)
        if handle is None:
            return False
        handle.stop(grace)
        return True

    def fence(self, task_id: str, attempt: int) -> bool:
        """Tell the body of one attempt that it seems to be in other hands; False when it holds it no more."""
        with self._lock:
            handle = self._handles.get(task_id) if self._held.get(task_id) == attempt else None
        if handle is None:
            return False
        handle.fence()
        return True

    def cut_off(self) -> int:
        """Tell every body that has an attempt to end it; how many."""
        with self._lock:
            handles = [handle for task_id, handle in self._handles.items() if task_id in self._held]
        for handle in handles:
            handle.cut_off()
        return len(handles)

    def detach_all(self) -> None:
        """The worker leaves: every body returns, no further one enters."""
        with self._lock:
            self._leaving = True
            handles = list(self._handles.values())
        for handle in handles:
            handle.detach()

    def wait_empty(self, timeout: float) -> bool:
        """Wait until the last body has left."""
        return self._empty.wait(timeout)
