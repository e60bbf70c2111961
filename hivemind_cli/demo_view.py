"""What one sees of the demo: every job's lines with its name before them, and on a terminal a live foot."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from hivemind_cli.demo_jobs import JOBS
from hivemind_cli.output import ENDED, clean, duration, ran_for, styled

if TYPE_CHECKING:
    from rich.console import RenderableType

COLOURS = dict(zip((job.name for job in JOBS), ("cyan", "yellow", "magenta"), strict=True))
WIDEST = max(len(job.name) for job in JOBS)


class View:
    """Lines for everyone; for a terminal also the state of each job, below them. One thread's."""

    def __init__(self) -> None:
        self._states: dict[str, dict[str, Any]] = {}
        self._partial: dict[tuple[str, str], bytes] = {}
        self._stack = ExitStack()
        self._live: Any = None

    def __enter__(self) -> View:
        if sys.stdout.isatty():
            from rich.console import Console
            from rich.live import Live

            live = Live(console=Console(highlight=False), get_renderable=self._foot, refresh_per_second=4)
            self._live = self._stack.enter_context(live)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def state(self, name: str, task: dict[str, Any]) -> None:
        """A job's document, newest so far."""
        before = self._states.get(name, {}).get("state")
        self._states[name] = task
        if task["state"] != before and self._live is None:
            self._line(name, f"-- {task['state']}")

    def output(self, name: str, stream: str, data: bytes) -> None:
        """A piece of a job's log; shown line by line."""
        *lines, rest = (self._partial.get((name, stream), b"") + data).split(b"\n")
        self._partial[name, stream] = rest
        for line in lines:
            self._line(name, clean(line.decode(errors="replace").rstrip("\r")))

    def say(self, text: str = "") -> None:
        """A line of our own."""
        if self._live is None:
            print(text, flush=True)
        else:
            from rich.text import Text

            self._live.console.print(Text.from_ansi(text))

    def _line(self, name: str, text: str) -> None:
        self.say(f"{styled(name.rjust(WIDEST), COLOURS[name])} | {text}")

    def _foot(self) -> RenderableType:
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for name, task in self._states.items():
            ended = task["state"] in ENDED
            sign = "·" if ended else "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"[int(time.time() * 8) % 10]
            caps = f"{task['requests']['cpu']:g} cores"
            table.add_row(
                sign, f"[{COLOURS[name]}]{name}[/]", task["state"], duration(ran_for(task)), f"[dim]{caps}[/]"
            )
        return table
