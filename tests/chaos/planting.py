"""Faults that are planted for the checker to find: real harm done to the real stack, once each, behind its back."""

from __future__ import annotations

import threading

from tests.chaos.stack import Stack


class Planter:
    """Does the named harm to jobs that come along. Without names it does nothing."""

    def __init__(self, stack: Stack, names: str) -> None:
        self._stack = stack
        self._names = [name for name in names.split(",") if name]
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""
        self._stopping.set()
