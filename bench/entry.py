"""How a benchmark's process speaks and ends: without a traceback where nothing is wrong with the benchmark."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import IO

#: what a shell says of programs that SIGINT or SIGPIPE ended
INTERRUPTED, READER_LEFT = 130, 141


class Unsaid(Exception):
    """stdout did not take it. Of a kind of its own: a benchmark's Redis and engine break pipes, too."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"stdout: {error.strerror}")
        self.reader_left = isinstance(error, BrokenPipeError)


def say(text: str, end: str = "\n") -> None:
    """What was found, on stdout and at once. Raises Unsaid."""
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        raise Unsaid(error) from error


def remark(text: str) -> None:
    """A line for a person, on stderr if there is one that takes it: without any, print() would write to stdout."""
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr)
    except OSError:
        _silence(sys.stderr)


def ending(name: str, work: Callable[[], int]) -> int:
    """What `work` returns; 130 after Ctrl-C, 1 when stdout cannot be written to, both with a line on stderr.

    141 without a word when stdout's reader has left, as `hivemind` and programs that SIGPIPE ends have it.
    """
    try:
        try:
            return work()
        except SystemExit:
            say("", end="")  # argparse's help is not flushed yet
            raise
    except KeyboardInterrupt:
        remark(f"{name}: interrupted")
        return INTERRUPTED
    except Unsaid as unsaid:
        _silence(sys.stdout)
        if unsaid.reader_left:
            return READER_LEFT
        remark(f"{name}: {unsaid}")
        return 1


def _silence(stream: IO[str]) -> None:
    """What it did not take is still in its buffer: the interpreter would try again at exit, complain and exit 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
