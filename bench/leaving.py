"""How a benchmark leaves: whatever ends it, Ctrl-C included, nothing that it started stays."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from hivemind_worker.execution.engine import Engine
from hivemind_worker.settings import Settings


@contextmanager
def leaving() -> Iterator[ExitStack]:
    """A stack that is unwound at the end, by Ctrl-C and SIGTERM too; a second one does not break that off."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    stack = ExitStack()
    try:
        yield stack
    finally:
        deaf = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            stack.close()
        finally:
            signal.signal(signal.SIGINT, deaf[signal.SIGINT])
            signal.signal(signal.SIGTERM, before)


def remove_containers(settings: Settings, labels: Mapping[str, str]) -> None:
    """Whatever carries these labels, running or not."""
    engine = Engine(settings)
    for found in engine.list(labels):
        engine.remove(found.id)
