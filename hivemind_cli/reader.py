"""Who reads our stdout may leave while there is nothing to print, as in `hivemind logs -f ID | head -1`."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def ends_with_reader() -> Iterator[None]:
    """Within it, BrokenPipeError comes as soon as nobody reads stdout any more, not at the next write.

    For the main thread only: the error comes by way of a signal, as KeyboardInterrupt does.
    """
    leave, left = os.pipe()
    watch = threading.Thread(target=_watch, args=(sys.stdout.fileno(), leave), name="reader", daemon=True)
    before = signal.signal(signal.SIGPIPE, _reader_left)
    watch.start()
    try:
        yield
    finally:
        os.close(left)
        watch.join()
        signal.signal(signal.SIGPIPE, before)
        os.close(leave)


def _watch(stdout: int, leave: int) -> None:
    """Until the reader of `stdout` has left, or the other end of `leave` is closed."""
    poller = select.poll()
    poller.register(stdout, 0)  # errors and hang-ups are told unasked
    poller.register(leave, 0)
    if all(descriptor != leave for descriptor, _ in poller.poll()):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGPIPE)


def _reader_left(*_: object) -> NoReturn:
    raise BrokenPipeError
