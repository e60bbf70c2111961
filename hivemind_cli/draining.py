"""Waiting for a drained node to be empty: what still runs on it, and until when at the latest."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hivemind_cli.errors import CliError
from hivemind_cli.output import duration, note
from hivemind_cli.progress import StatusLine

if TYPE_CHECKING:
    from bridge.client import Client

#: the states of a job that has a place on a node
HELD = ("admitted", "preparing", "running", "collecting")
#: seconds between two looks
LOOK = 1.0


@dataclass(frozen=True, slots=True)
class Left:
    """What a node still has to do. `seconds`: until the last of its jobs must have ended, None where nothing runs."""

    jobs: int
    seconds: float | None

    def __str__(self) -> str:
        if not self.jobs:
            return "no job is left"
        jobs = "1 job runs on" if self.jobs == 1 else f"{self.jobs} jobs run on"
        return f"{jobs}, until {duration(self.seconds)} from now at the latest" if self.seconds else jobs


def left(tasks: Iterable[Mapping[str, Any]], now: float) -> Left:
    """Of the jobs that a node holds. Pure; `now` in epoch seconds.

    A job ends by its timeout, counted from its start; one that has not started yet has all of it before it.
    """
    remaining = []
    for task in tasks:
        started = task["times"]["started"]
        ran = max(0.0, now - datetime.fromisoformat(started).timestamp()) if started else 0.0
        remaining.append(max(0.0, task["timeout_seconds"] - ran))
    return Left(len(remaining), math.ceil(max(remaining)) if remaining else None)


def look(client: Client, node: str) -> Left:
    """Ask once. Raises CallError."""
    return left(_held(client, node), time.time())


def until_empty(client: Client, node: str, line: StatusLine) -> float:
    """Wait until the node holds no job; how many seconds that took.

    Raises CliError when the node takes work again, CallError when the bridge stays away for longer than the client has
    patience.
    """
    from bridge.client import CallError
    from bridge.client_streams import SAID_AFTER

    tell = client.on_outage or (lambda _: None)
    began, heard, said = time.monotonic(), time.monotonic(), -1
    pause = threading.Event()
    while True:
        try:
            state, now = client.nodes(node)[0]["state"], look(client, node)
            heard = time.monotonic()
            tell(None)
        except CallError as error:
            away = time.monotonic() - heard
            if error.code != "UNAVAILABLE" or (client.patience is not None and away > client.patience):
                raise
            if away > SAID_AFTER:
                tell(error)
            line.show(f"draining {node}: the bridge is away", now=True)
            pause.wait(LOOK)
            continue
        if state == "up":
            raise CliError(f"{node} takes work again: somebody resumed it; {now}", kind="RESUMED")
        if not now.jobs:
            return time.monotonic() - began
        line.show(f"draining {node}: {now}", now=True)
        if now.jobs != said and not line.live:
            note(f"draining {node}: {now}")
        said = now.jobs
        pause.wait(LOOK)


def _held(client: Client, node: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for state in HELD:
        cursor = ""
        while True:
            page = client.list(state=state, limit=1000, cursor=cursor)
            found += [task for task in page["tasks"] if task["node"] == node]
            cursor = page["next"]
            if not cursor:
                break
    return list({task["task_id"]: task for task in found}.values())
