"""Processes of a container that its engine does not know of: an engine that was killed in the instant of a start takes
the container for one that never ran, and neither stops nor removes what runs in it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import structlog

from hivemind_worker.execution.cgroups import ROOT, process_list

log = structlog.get_logger()
#: characters of a whole id: shorter names are nobody's directory
WHOLE = 64


def end_survivors(container: str, root: Path = ROOT, proc: Path = Path("/proc")) -> int:
    """Kill what runs in a container that, says its engine, does not run; how many processes were there.

    `container` is its whole id. Where the kernel's groups cannot be seen, as from inside a container, it is none.
    """
    if len(container) != WHOLE:
        return 0
    killed = 0
    for pid in _listed(process_list(root, container)):
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            # The number may be another's since the list was read; the descriptor cannot be.
            if container in (proc / str(pid) / "cgroup").read_text("utf-8", errors="replace"):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                killed += 1
        except OSError:
            continue
        finally:
            os.close(descriptor)
    if killed:
        log.warning("processes that the engine did not know of were killed", container=container[:12], count=killed)
    return killed


def _listed(path: Path | None) -> list[int]:
    try:
        return [int(line) for line in path.read_text("ascii").split()] if path is not None else []
    except OSError:
        return []
