"""A bridge, or its Redis, that goes away while a command follows something: what is said, and for how long it tries."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from hivemind_cli.joboptions import DURATION
from hivemind_cli.output import duration, note
from hivemind_cli.session import Session

if TYPE_CHECKING:
    from bridge.client import CallError


class Outage:
    """Says once that the bridge is away, and once that it is back, however many streams find out."""

    def __init__(self, bridge: str, patience: float | None) -> None:
        self._bridge, self._patience = bridge, patience
        self._lock = threading.Lock()
        self._away = False

    def __call__(self, error: CallError | None) -> None:
        """For `Client(on_outage=)`. Threads may share it."""
        with self._lock:
            if self._away == (error is not None):
                return
            self._away = error is not None
        _say(f"the bridge at {self._bridge} answers again" if error is None else self._words(error))

    def _words(self, error: CallError) -> str:
        away = f"the bridge at {self._bridge} is away"
        if self._bridge not in error.message:  # it is there, and says what it lacks
            away = f"the bridge at {self._bridge} cannot serve this now: {error.message}"
        return f"{away}; trying again" + (f" for {duration(self._patience)}" if self._patience is not None else "")


def _say(words: str) -> None:
    """Over a status line, where there is one."""
    note(("\r\033[K" if sys.stderr.isatty() else "") + f"hivemind: {words}")


def patience_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """--patience, for a command that follows something. Ends up in the session."""

    def keep(ctx: click.Context, _param: click.Parameter, value: float | None) -> None:
        ctx.ensure_object(Session).patience = value

    return click.option(
        "--patience", type=DURATION, metavar="TIME", expose_value=False, callback=keep,
        help="How long to look for a bridge that went away meanwhile. [default: until it is back]",
    )(function)  # fmt: skip
