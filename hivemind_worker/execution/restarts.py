"""Whether a container's end fell into its engine's restart: the engine's own start against the container's stamps.

An engine that was away reads nothing meanwhile. What a container printed in that time is lost if it also ended in
that time, and an engine without live-restore ends the containers that it finds when it comes up. A worker that was
there sees the outage; one that was killed together with the engine can tell by this alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from hivemind_worker.domain.errors import EngineUnavailable
from hivemind_worker.execution.found import Found
from hivemind_worker.execution.since import Moment
from hivemind_worker.execution.wire import Address, EngineStream, peer_of

#: where an engine that systemd listens for keeps its number
PIDFILES = (Path("/run/docker.pid"), Path("/var/run/docker.pid"))
CONNECT_TIMEOUT = 2.0
#: seconds after an engine's start within which it may still be ending the containers that it found
TIDYING = 30.0
#: seconds after an engine's start within which it may lose the output of a container that ends: it has just taken it
#: over, or notes late that it ended before
NOTING = 3.0
#: seconds after its process' start before which no engine comes to the containers that it finds
STARTING = 0.1


def engine_started_at(address: Address) -> Moment | None:
    """When the engine's process was started; None where that cannot be known, as over TCP. Raises EngineUnavailable."""
    if not address.path:
        return None
    try:
        with address.connect(CONNECT_TIMEOUT) as sock:
            pid = peer_of(sock)
    except OSError as error:
        raise EngineUnavailable(f"the container engine does not answer: {error}") from None
    return _started_if_known(pid)


def served_since(stream: EngineStream) -> Moment | None:
    """When the engine at a stream's other end was started; None where that cannot be known, or it is gone."""
    return _started_if_known(stream.peer())


def _started_if_known(pid: int) -> Moment | None:
    if not pid:
        return None
    try:
        return _started(pid if pid > 1 else _noted_pid())
    except (OSError, ValueError, IndexError):
        return None


def _noted_pid() -> int:
    """The number that the engine wrote down, where init listens in its stead. Raises OSError, ValueError."""
    for path in PIDFILES:
        if path.exists():
            return int(path.read_text("ascii"))
    raise FileNotFoundError("no engine has noted its number")


def _started(pid: int) -> Moment:
    """Raises OSError, ValueError, IndexError."""
    stat = Path(f"/proc/{pid}/stat").read_text("utf-8", errors="replace")
    ticks = int(stat.rpartition(")")[2].split()[19])  # the name before it may hold anything
    now, up = Moment.now(), ticks / os.sysconf("SC_CLK_TCK")
    return Moment(now.boot, up, now.wall - now.up + up)


def same_engine(one: Moment | None, other: Moment | None) -> bool:
    """Whether two looks at the engine's start saw the same process, or cannot tell. Pure."""
    if one is None or other is None:
        return one is other
    return (one.boot, one.up) == (other.boot, other.up)


def is_younger(engine_started: Moment | None, start: Moment | None) -> bool:
    """Whether the engine that answers now was started after the container was: another one started it. Pure."""
    if engine_started is None or start is None:
        return False
    return engine_started.boot != start.boot or engine_started.up > start.up


def outlived(found: Found | None, engine_started: Moment | None, start: Moment | None) -> bool:
    """Whether it ran on under another engine than the one that started it. `start`: the note of its start. Pure."""
    if start is not None:
        return is_younger(engine_started, start)
    stamp = found.started_at if found else None
    return engine_started is not None and stamp is not None and stamp < engine_started.wall


def ended_with_engine(found: Found | None, engine_started: Moment | None) -> bool:
    """Whether it was started before this engine, and ended before the engine was done with what it found. Pure."""
    return _ended_within(found, engine_started, TIDYING)


def ended_unread(found: Found | None, engine_started: Moment | None) -> bool:
    """Whether it ended while there was no engine, so that the end of its output may be lost. Pure."""
    return _ended_within(found, engine_started, NOTING)


def ended_before(found: Found | None, engine_started: Moment | None) -> bool:
    """Whether it ended before this engine came up: by itself, or because the engine before was being stopped. Pure."""
    return _ended_within(found, engine_started, 0.0)


def zero_in_doubt(found: Found | None, engine_started: Moment) -> bool:
    """Whether an exit code of 0 may be nobody's. Pure.

    An engine that is killed after it has cleared an ended container away and before it has noted how it ended leaves
    one of which the next engine knows nothing: that stamps it as ended when it came up, with 0 (Docker 20.10).
    """
    if found is None or found.started_at is None or found.finished_at is None:
        return False
    since = found.finished_at - engine_started.wall
    return found.exit_code == 0 and found.started_at < engine_started.wall and STARTING <= since < TIDYING


def _ended_within(found: Found | None, engine_started: Moment | None, seconds: float) -> bool:
    if found is None or engine_started is None or found.started_at is None or found.finished_at is None:
        return False
    return found.started_at < engine_started.wall and found.finished_at < engine_started.wall + seconds
