"""What a watched attempt's end means: cause, evidence, usage."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from hivemind_worker.domain.errors import EngineUnavailable
from hivemind_worker.domain.outcome import Usage
from hivemind_worker.execution.disk import DiskWatch
from hivemind_worker.execution.engine import Engine
from hivemind_worker.execution.found import Found
from hivemind_worker.execution.handle import Handle
from hivemind_worker.execution.launch import Launched
from hivemind_worker.execution.logs import Pump
from hivemind_worker.execution.patience import patiently
from hivemind_worker.execution.prepared import Ended, Prepared
from hivemind_worker.execution.requirements import read_marker
from hivemind_worker.execution.restarts import (
    ended_before,
    ended_unread,
    ended_with_engine,
    is_younger,
    outlived,
    zero_in_doubt,
)
from hivemind_worker.execution.room import no_room
from hivemind_worker.execution.since import Moment, rebooted, wall_seconds
from hivemind_worker.execution.usage import Meter
from hivemind_worker.execution.verdict import Facts, decide, reason_of
from hivemind_worker.execution.watch import Exit
from hivemind_worker.execution.workspace import disk_usage
from hivemind_worker.settings import Settings

#: bytes of a log's end that are looked at for an installer's or an init's last words
LAST_WORDS = 4096


@dataclass(frozen=True)
class Watched:
    """An attempt whose watch is over, with all that watched it."""

    prepared: Prepared
    launched: Launched
    left: Exit
    pump: Pump
    meter: Meter
    disk: DiskWatch
    gpu_evidence: str
    #: monotonic seconds at the container's real start
    started: float


def conclude(engine: Engine, settings: Settings, seen: Watched, handle: Handle) -> Ended:
    """Say how it ended, and close its log. An engine that is away is waited for. Raises Detached.

    The engine is asked once more only where its word can matter.
    """
    prepared, launched, left, meter = seen.prepared, seen.launched, seen.left, seen.meter
    spec, looks = prepared.job.assignment, 0

    def look() -> tuple[Found | None, Moment | None, bool]:
        """All of one engine: where one dies between the questions, they are asked again. Whether a 0 is nobody's."""
        nonlocal looks
        looks += 1
        found, engine_started = engine.inspect(launched.container), engine.started_at()
        if engine_started is None or not zero_in_doubt(found, engine_started):
            return found, engine_started, False
        return found, engine_started, not engine.saw_end(launched.container, engine_started)

    found: Found | None = None
    engine_started: Moment | None = None
    code = left.code
    # A body that is frozen, or between two calls, does not see an engine go and come back.
    if left.code != 0 or left.outage or launched.found is not None or _another(engine, prepared.workspace.start):
        found, engine_started, unknown = patiently(handle, look, started=True)
        code = None if unknown else code
    unread = left.unread or ended_unread(found, engine_started)
    # An engine that is stopped in order asks programs to end, and they may do so with any code.
    asked = bool(code) and ended_before(found, engine_started)
    # The one that started it may have had another setting than the one that answers now.
    engine_ended_it = asked and (launched.kept is False or not patiently(handle, engine.keeps_containers, started=True))
    passed_on = outlived(found, engine_started, prepared.workspace.start)
    info = seen.pump.finish(settings.log_tail_bytes, unread=unread, passed_on=passed_on)
    wall = wall_seconds(found, left.at - seen.started)
    full = no_room(settings.state / "workspaces") if code else ""
    reason, used = left.reason, _held(prepared, left, seen.disk)
    if full and reason is None:  # whose doing is it? It may have ended before it was measured
        used = max(used, disk_usage(prepared.workspace.work, at_most=spec.requests.disk))
        reason = "disk" if used > spec.requests.disk else None
    facts = Facts(
        exit_code=code,
        reason=reason,
        stop_asked=handle.stop_requested is not None,
        oom_kills=meter.reading.oom_kills,
        engine_says_oom=found.oom_killed if found else False,
        memory_cap=spec.requests.memory,
        timeout=spec.timeout_seconds,
        wall=wall,
        cpu_seconds=meter.reading.cpu_seconds,
        disk_used=used,
        disk_cap=spec.requests.disk,
        gpu_evidence=seen.gpu_evidence,
        # An engine that shuts down ends its containers first; one that comes up ends those that it finds.
        outage=left.outage or looks > 1 or ended_with_engine(found, engine_started),
        engine_ended_it=engine_ended_it,
        rebooted=rebooted(prepared.workspace.start, found, Moment.now()),
        gone=left.gone or (code != 0 and (found is None or found.status in ("removing", "dead"))),
        requirements=read_marker(prepared.workspace.work),
        no_room=full,
        network=spec.network,
        last_words=_last_words(prepared.workspace.log),
        all_words=info.bytes <= LAST_WORDS,
    )
    cause, evidence = decide(facts)
    return Ended(cause, evidence, code, _usage(meter, wall), info, unseen=left.gone)


def as_noted(prepared: Prepared, ended: Ended) -> Ended:
    """The end of an attempt whose watch broke off: had we begun to end it, that is why, whatever broke then."""
    reason = reason_of(prepared.workspace.ended_for)
    if reason is None or not ended.unseen:
        return ended
    spec = prepared.job.assignment
    facts = Facts(
        exit_code=None,
        reason=reason,
        timeout=spec.timeout_seconds,
        disk_used=disk_usage(prepared.workspace.work) if reason == "disk" else 0,
        disk_cap=spec.requests.disk,
    )
    cause, evidence = decide(facts)
    return replace(ended, cause=cause, evidence=evidence if cause is ended.cause else f"{evidence}; {ended.evidence}")


def _another(engine: Engine, start: Moment | None) -> bool:
    """Whether the engine that started it is away, or was followed by another."""
    try:
        return is_younger(engine.started_at(), start)
    except EngineUnavailable:
        return True


def _held(prepared: Prepared, left: Exit, disk: DiskWatch) -> int:
    """Bytes in the workspace: measured again where the worker that saw too many of them died."""
    if left.reason != "disk" or disk.over:
        return disk.used
    return max(disk.used, disk_usage(prepared.workspace.work))


def _last_words(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LAST_WORDS))
            return file.read(LAST_WORDS).decode("utf-8", "replace")
    except OSError:
        return ""


def _usage(meter: Meter, wall: float) -> Usage:
    reading = meter.reading
    return Usage(
        cpu_seconds=round(reading.cpu_seconds, 6),
        memory_peak=reading.memory_peak,
        block_read=reading.block_read,
        block_write=reading.block_write,
        network_received=reading.network_received,
        network_sent=reading.network_sent,
        wall_seconds=round(max(0.0, wall), 6),
    )
