"""Following one job to its end: its log as it comes, and why it waits.

The client goes on by itself when the bridge is away for a while; so ask it something that fails at once before.
"""

from __future__ import annotations

import sys
import threading
from typing import IO, TYPE_CHECKING, Any

from hivemind_cli.output import duration, note
from hivemind_cli.progress import StatusLine

if TYPE_CHECKING:
    from bridge.client import Client


class LogPrinter:
    """A log's chunks on stdout and stderr, byte for byte."""

    def __init__(self, client: Client, task_id: str, line: StatusLine, *, first: int, to_stderr: bool) -> None:
        self._client, self._id, self._line = client, task_id, line
        self._first = first
        self._out: IO[bytes] = sys.stderr.buffer if to_stderr else sys.stdout.buffer

    def print(self, *, follow: bool) -> None:
        """Print all there is; with `follow`, until the job has ended. Raises CallError."""
        for chunk in self._client.logs(self._id, first=self._first, follow=follow):
            self._line.clear()
            if chunk.stream == "notice":
                note(f"hivemind: {chunk.data.decode(errors='replace').rstrip()}")
                continue
            target = self._out if chunk.stream == "stdout" else sys.stderr.buffer
            target.write(chunk.data)
            target.flush()


def why(task: dict[str, Any]) -> str:
    """One line that says where a job is on its way."""
    waiting = task.get("waiting")
    if task["state"] != "waiting":
        return str(task["state"])
    if not waiting:
        return "waiting"
    text = f"waiting: {waiting['reason']}" if waiting.get("reason") else "waiting"
    if waiting.get("position"):
        text += f", place {waiting['position']}"
    if waiting.get("eta_seconds") is not None:
        text += f", starts in about {duration(waiting['eta_seconds'])}"
    return text


class WaitReason:
    """While it lives, the status line says why a job does not run yet. Silent where nobody would see it."""

    def __init__(self, client: Client, task_id: str, line: StatusLine) -> None:
        self._client, self._id, self._line = client, task_id, line
        if sys.stderr.isatty():
            threading.Thread(target=self._show, name="wait-reason", daemon=True).start()

    def _show(self) -> None:
        from bridge.client import CallError

        try:
            for task in self._client.watch(self._id):
                if task["state"] in ("running", "collecting", "completed", "failed", "stopped"):
                    break
                self._line.show(why(task), now=True)
        except CallError:
            return  # the log stream says what is wrong with the connection
        finally:
            self._line.clear()


def until_ended(client: Client, task_id: str, line: StatusLine | None = None) -> dict[str, Any]:
    """The job once it has ended. Raises CallError."""
    last: dict[str, Any] = {}
    for task in client.watch(task_id):
        last = task
        if line is not None:
            line.show(f"{task_id}: {why(task)}", now=True)
    return last
