"""Before the first service starts: directories and a state that are ours alone, and ports that nobody else has."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from pathlib import Path

from hivemind_cli import nodefile
from hivemind_cli.plan import Plan

#: seconds for the services of a killed supervisor to leave by themselves
LEFTOVERS = 4.0


class StartRefused(Exception):
    """The node does not come up. `service` is '' when none was at fault."""

    def __init__(self, service: str, why: str, last_words: list[str] | None = None, log: Path | None = None) -> None:
        super().__init__(f"{service} {why}".strip())
        self.service, self.why, self.last_words, self.log = service, why, last_words or [], log


def make_folders(plan: Plan) -> None:
    """Make the plan's directories. Raises StartRefused where one is not ours: a socket in it could be anybody's."""
    for name in plan.folders:
        path = Path(name)
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
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


def lock_state(state: Path) -> int:
    """Hold the state for this process' life. Raises StartRefused when another node has it."""
    descriptor = os.open(state / "node.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        running = nodefile.read(state) or {}
        who = f" (process {running['pid']})" if running.get("pid") else ""
        why = f"a node runs on {state} already{who}; 'hivemind down --state {state}' stops it"
        raise StartRefused("", why) from None
    return descriptor


def end_leftovers(state: Path) -> list[str]:
    """With the lock held: what a killed supervisor left running is ended; the names."""
    left = nodefile.read(state)
    if left is None:
        return []
    ended = nodefile.end_leftovers(left, LEFTOVERS)
    nodefile.remove(state)
    return ended
