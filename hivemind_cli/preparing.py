"""Before the first service starts: directories and a state that are ours alone, and ports that nobody else has."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import time
from pathlib import Path

from hivemind_cli import nodefile
from hivemind_cli.folders import make_folder
from hivemind_cli.plan import Plan

LOCK = "node.lock"
#: seconds for the services of a killed supervisor to leave by themselves
LEFTOVERS = 4.0
#: seconds that 'hivemind down' may hold a dead node's state while it ends what is left of it
CLEANING = 2 * LEFTOVERS


class StartRefused(Exception):
    """The node does not come up. `service` is '' when none was at fault."""

    def __init__(self, service: str, why: str, last_words: list[str] | None = None, log: Path | None = None) -> None:
        super().__init__(f"{service} {why}".strip())
        self.service, self.why, self.last_words, self.log = service, why, last_words or [], log


def make_folders(plan: Plan, made: list[Path]) -> None:
    """Make the plan's directories; `made` gets those that were not there.

    Raises StartRefused where one is not ours: a socket in it could be anybody's.
    """
    for name in plan.folders:
        path = Path(name)
        try:
            make_folder(path, made, 0o700)
            inside = path.is_relative_to(plan.state)
            info = path.stat() if inside else path.lstat()
        except OSError as error:
            raise StartRefused("", f"cannot make the directory {path}: {error.strerror}") from None
        if not stat.S_ISDIR(info.st_mode) or not os.access(path, os.W_OK | os.X_OK):
            raise StartRefused("", f"{path} is not a directory that this user can write; name another with --state")
        if not inside and info.st_uid != os.geteuid():
            raise StartRefused("", f"{path} belongs to another user; remove it or choose a shorter --state")


def check_doors(plan: Plan) -> None:
    """Raises StartRefused for a port that is taken or an address that is not this machine's."""
    for door in plan.doors:
        host = door.host.strip("[]")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, door.port))
            except OSError as error:
                setting = door.setting if error.errno == 98 else door.setting.replace("_PORT", "_HOST")
                raise StartRefused(
                    "",
                    f"port {door.port} on {door.host} cannot be had for {door.service}: {error.strerror}; "
                    f"choose another with {setting}",
                ) from None


def lock_state(state: Path, made: list[Path]) -> int:
    """Hold the state for this process' life; `made` gets the lock if it was not there.

    Raises StartRefused when another node has it.
    """
    path = state / LOCK
    fresh = not path.exists()
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartRefused("", f"cannot make {path}: {error.strerror}") from None
    try:
        _lock(descriptor, state)
        _check_in_place(descriptor, path)
    except BlockingIOError:
        os.close(descriptor)
        running = nodefile.read(state) or {}
        who = f" (process {running['pid']})" if running.get("pid") else ""
        why = f"a node runs on {state} already{who}; 'hivemind down --state {state}' stops it"
        raise StartRefused("", why) from None
    if fresh:
        made.append(path)
    return descriptor


def _lock(descriptor: int, state: Path) -> None:
    """Raises BlockingIOError when a node has it, or something else does for longer than 'hivemind down' cleans up."""
    end = time.monotonic() + CLEANING
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if nodefile.runs(nodefile.read(state)) or time.monotonic() >= end:
                raise
        time.sleep(0.05)


def _check_in_place(descriptor: int, path: Path) -> None:
    """A start that was refused takes its lock away: one that we opened before that would keep nobody out."""
    if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
        os.close(descriptor)
        raise StartRefused("", f"another start on {path.parent} was given up just now; try again")


def end_leftovers(state: Path) -> list[str]:
    """With the lock held: what a killed supervisor left running is ended; the names."""
    nodefile.remove_unfinished(state)
    left = nodefile.read(state)
    if left is None:
        return []
    ended = nodefile.end_leftovers(left, LEFTOVERS)
    nodefile.remove(state)
    return ended
