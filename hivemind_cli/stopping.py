"""The end of a node: its jobs, if asked, then its supervisor, which ends the rest in order."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hivemind_cli import nodefile, processes
from hivemind_cli.errors import CliError
from hivemind_cli.following import until_ended
from hivemind_cli.preparing import LOCK, StartRefused, end_leftovers, lock_state
from hivemind_cli.progress import StatusLine

if TYPE_CHECKING:
    from bridge.client import Client

#: seconds that a node which is coming up is waited for until it says where it is
COMING_UP = 10.0
#: seconds: the sum of the graces of all stages, and some
PATIENCE = 45.0


def running_node(state: Path) -> dict[str, Any] | None:
    """node.json of the node that runs on this state; None: none does.

    One that is just coming up has the state's lock and no document yet: it is waited for. Raises CliError when that
    takes too long.
    """
    end = time.monotonic() + COMING_UP
    while True:
        document = nodefile.read(state)
        if nodefile.runs(document):
            return document
        if not _locked(state):
            return None
        if time.monotonic() >= end:
            raise CliError(f"a node is coming up on {state} and cannot be stopped yet; try again in a moment")
        time.sleep(0.05)


def end_dead_node(state: Path) -> list[str]:
    """End what a killed supervisor left running; the names. With the lock held: a new node's are not touched."""
    if not (state / LOCK).exists():
        return []
    try:
        lock = lock_state(state, [])
    except StartRefused:
        return []  # a new node has taken it over this very moment
    try:
        return end_leftovers(state)
    finally:
        os.close(lock)


def _locked(state: Path) -> bool:
    """Whether a process holds the state. Looks at the kernel's list: to try the lock could keep a start from it."""
    try:
        inode = (state / LOCK).stat().st_ino
        held = Path("/proc/locks").read_text("ascii").splitlines()
    except OSError:
        return False
    return any(f":{inode} " in line and "FLOCK" in line for line in held)


def stop_node(document: dict[str, Any]) -> None:
    """Tell the supervisor of node.json to leave, and wait until it has. Jobs go on."""
    processes.end(document["pid"], document["identity"], patience=PATIENCE)


def stop_jobs(client: Client, grace: float | None, line: StatusLine) -> int:
    """Stop every job that has not ended, those that arrive meanwhile too; how many. Raises CallError."""
    stopped: set[str] = set()
    while active := _active(client):
        for task_id in active:
            client.cancel(task_id, grace)
        stopped.update(active)
        for number, task_id in enumerate(active):
            line.show(f"stopping jobs: {number} of {len(active)} have ended", now=True)
            until_ended(client, task_id)
    return len(stopped)


def _active(client: Client) -> list[str]:
    page = client.list(state="", owner="", limit=1000, cursor="", active_only=True)
    return [task["task_id"] for task in page["tasks"]]
