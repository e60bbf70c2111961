"""How a benchmark leaves: whatever ends it, Ctrl-C included, nothing that it started stays."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import FrameType

from hivemind_worker.execution.engine import Engine
from hivemind_worker.settings import Settings

#: what ends a benchmark, and the clock that says so again
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
AGAIN = 1.0


@contextmanager
def leaving() -> Iterator[ExitStack]:
    """A stack that is unwound at the end, by Ctrl-C and SIGTERM too; a second one does not break that off."""
    before = {number: signal.signal(number, _interrupt) for number in ENDING}
    stack = ExitStack()
    try:
        yield stack
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        try:
            stack.close()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """As Ctrl-C does, and again every second until it is heard: an exception in a callback of gRPC's is lost."""
    signal.setitimer(signal.ITIMER_REAL, AGAIN)
    raise KeyboardInterrupt


def remove_containers(settings: Settings, labels: Mapping[str, str]) -> None:
    """Whatever carries these labels, running or not."""
    engine = Engine(settings)
    for found in engine.list(labels):
        engine.remove(found.id)
