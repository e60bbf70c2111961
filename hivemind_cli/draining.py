"""Waiting for a drained node to be empty: what still runs on it, and until when at the latest."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from hivemind_cli.errors import CliError
from hivemind_cli.output import duration, note
from hivemind_cli.progress import StatusLine

if TYPE_CHECKING:
    from bridge.client import Client

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


def left(node: Mapping[str, Any]) -> Left:
    """Of a node as the bridge shows it. Pure.

    Both times are the site's: this machine's clock may say another. Nobody knows what becomes of a silent node's jobs.
    """
    jobs, by = node["running"], node["empty_by"]
    if not jobs or not by or node["state"] == "down":
        return Left(jobs, None)
    ends, now = datetime.fromisoformat(by), datetime.fromisoformat(node["heartbeat"])
    return Left(jobs, max(0, math.ceil((ends - now).total_seconds())))


def look(client: Client, node: str) -> Left:
    """Ask once. Raises CallError."""
    return left(client.nodes(node)[0])


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
            seen = client.nodes(node)[0]
            state, now = seen["state"], left(seen)
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
