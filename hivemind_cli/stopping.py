"""The end of a node: its jobs, if asked, then its supervisor, which ends the rest in order."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Stopped:
    """How many jobs were stopped, and whether the node was drained for it: it is to be resumed once it is down."""

    jobs: int = 0
    drained: bool = False


def stop_jobs(client: Client, node: str, grace: float | None, line: StatusLine) -> Stopped:
    """Stop every job of the node that has not ended, those that arrive meanwhile too. Raises CallError.

    Where other nodes of its site take work, it takes no more of theirs meanwhile, and what any of them may run goes on.
    """
    states = {one["node"]: one["state"] for one in client.nodes()}
    alone = all(state == "down" for name, state in states.items() if name != node)
    drained = not alone and states.get(node) == "up"
    if drained:
        client.drain(node)
    try:
        return Stopped(_stop_all(client, node, alone, grace, line), drained)
    except BaseException:
        if drained:
            client.resume(node)
        raise


def _stop_all(client: Client, node: str, alone: bool, grace: float | None, line: StatusLine) -> int:
    stopped: set[str] = set()
    while active := [task_id for task_id, task in _active(client).items() if is_of(task, node, alone)]:
        for task_id in active:
            client.cancel(task_id, grace)
        stopped.update(active)
        for number, task_id in enumerate(active):
            line.show(f"stopping jobs: {number} of {len(active)} have ended", now=True)
            until_ended(client, task_id)
    return len(stopped)


def is_of(task: dict[str, Any], node: str, alone: bool) -> bool:
    """Whether a job is the node's: it holds it, or nobody else can start it. `alone`: no other node is up. Pure."""
    if task["node"]:
        return bool(task["node"] == node)
    return bool(task["home"] == node or (alone and not task["home"]))


def _active(client: Client) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    cursor = ""
    while True:
        page = client.list(state="", owner="", limit=1000, cursor=cursor, active_only=True)
        found.update((task["task_id"], task) for task in page["tasks"])
        cursor = page["next"]
        if not cursor:
            return found
