"""The watch over one started container: one loop that waits for its end, its output, a word, and its limits."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from hivemind_worker.domain.errors import EngineUnavailable
from hivemind_worker.execution.disk import DiskWatch
from hivemind_worker.execution.engine import Engine
from hivemind_worker.execution.gpus import GpuWatch
from hivemind_worker.execution.handle import Detached, Handle
from hivemind_worker.execution.logs import Pump
from hivemind_worker.execution.patience import Backoff, patiently
from hivemind_worker.execution.restarts import ended_before, same_engine
from hivemind_worker.execution.since import Moment
from hivemind_worker.execution.usage import Meter
from hivemind_worker.execution.verdict import Reason
from hivemind_worker.execution.wire import EngineRefused, EngineStream
from hivemind_worker.killpoints import reach

log = structlog.get_logger()

#: seconds after the output's end at which a container that still runs is looked at again: it may have closed its
#: output, or the connection may have broken
EOF_PATIENCE = 1.0
#: seconds of silence after the exit until the rest of the output is fetched from the engine's own copy instead
DRAIN_PATIENCE = 5.0
#: readings of the engine's copy that fell silent, until the job ends without it
COPY_TRIES = 5
#: seconds between attempts to kill what does not die
KILL_AGAIN = 10.0
#: seconds until an end is enforced again on a container that, says the engine, does not run
LATE_PATIENCE = 1.0
#: seconds for which an engine that answers and cannot wait for the container counts as away; then its watch breaks off
REFUSED_PATIENCE = 600.0
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Limits:
    """When and how a container is ended. `deadline` is monotonic; graces in seconds."""

    deadline: float
    grace: float
    #: for what an earlier worker was ending it when that worker died; None: it was not
    noted: Reason | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """How it ended. `code` None: the engine does not know it any more; `at` is monotonic."""

    code: int | None
    reason: Reason | None
    outage: bool
    gone: bool
    at: float
    #: it ended while the engine was away, so that nobody read the end of its output
    unread: bool = False


class Watch:
    """Owned by the body's thread. `output` is attached already, or None: the engine's copy is replayed."""

    def __init__(
        self,
        engine: Engine,
        container: str,
        handle: Handle,
        *,
        pump: Pump,
        meter: Meter,
        disk: DiskWatch,
        gpus: GpuWatch,
        limits: Limits,
        output: EngineStream | None,
        note: Callable[[str], None],
        attached_to: Moment | None = None,
    ) -> None:
        """`note` is told the reason before we end the container, and '' when that came too late. `attached_to`: when
        the engine was started that gives the output."""
        self._engine = engine
        self._container = container
        self._handle = handle
        self._pump = pump
        self._meter = meter
        self._disk = disk
        self._gpus = gpus
        self._limits = limits
        self._output = output
        self._live = output is not None
        self._attached_to = attached_to
        self._output_ended = NEVER
        self._wait: EngineStream | None = None
        self._said = b""
        self._note = note
        self._reason: Reason | None = None
        #: for what it was to be ended, though nobody knows whether it was
        self._noted = limits.noted
        self._kill_at = self._refused_until = NEVER
        self._idle_until = 0.0
        self._outage = False
        self._unread = False
        self._mute = False
        self._copies = 0
        self._backoff = Backoff(handle)

    def run(self) -> Exit:
        """Stay until the container has ended and its output is read. Raises Detached, EngineRefused."""
        try:
            code, gone = self._until_exit()
            reach("exit-seen", self._pump.task_id)
            at = time.monotonic()
            self._meter.ended()
            if not gone:
                self._read_rest()
            return Exit(code, self._reason or self._noted, self._outage, gone, at, self._unread)
        finally:
            self._close_streams()

    # --- until it ends -----------------------------------------------------------------------------------

    def _until_exit(self) -> tuple[int | None, bool]:
        """Its exit code, and whether it is gone altogether. An engine that goes away meanwhile is waited for."""
        while True:
            try:
                if self._refused_until != NEVER:
                    self._enforce_patiently(time.monotonic())
                self._open_streams()
                while self._wait is not None:
                    self._turn()
                return _exit_code(self._said), False
            except EngineRefused as refused:
                if refused.status == 404:
                    return None, True
                if refused.status < 500 or time.monotonic() >= self._refused_until:
                    raise
                self._refused_until = min(self._refused_until, time.monotonic() + REFUSED_PATIENCE)
                self._wait_for_the_engine(str(refused))
            except EngineUnavailable as error:
                self._wait_for_the_engine(str(error))

    def _wait_for_the_engine(self, why: str) -> None:
        if not self._outage:
            log.warning("engine away in mid-run", container=self._container[:12], why=why)
        self._outage = True
        self._close_streams()
        self._backoff.rest()

    def _open_streams(self) -> None:
        if self._wait is None:
            self._said = b""
            self._wait = self._engine.wait(self._container)
            if self._outage and not self._unread:
                found = self._engine.inspect(self._container)
                self._unread = found is None or not found.running
            self._backoff, self._refused_until = Backoff(self._handle), NEVER
        if self._output is None and self._output_ended == NEVER and not self._mute:
            self._live = False
            self._pump.rewind()
            self._output = self._copy(follow=True)

    def _turn(self) -> None:
        """Wait for whatever comes first, and deal with it. Raises EngineUnavailable, Detached."""
        ready = self._select(self._next_due())
        now = time.monotonic()
        if self._handle.fileno() in ready:
            self._handle.drain()
        if self._handle.detached:
            raise Detached
        if self._meter.fileno() in ready:
            self._meter.ended()
        if self._output is not None and self._output.fileno() in ready and not self._pump.read(self._output):
            self._output.close()
            self._output, self._output_ended = None, now
            self._meter.sample()
        if self._wait is not None and self._wait.fileno() in ready:
            self._hear_exit()
        self._duties(now)

    def _select(self, due: float) -> set[int | None]:
        poll = select.poll()
        for source in (self._handle.fileno(), self._meter.fileno()):
            if source is not None:
                poll.register(source, select.POLLIN)
        for stream in (self._output, self._wait):
            if stream is not None:
                poll.register(stream.fileno(), select.POLLIN)
        timeout = None if due == NEVER else max(0.0, (due - time.monotonic()) * 1000)
        return {number for number, _ in poll.poll(timeout)}

    def _next_due(self) -> float:
        if self._reason is not None:
            limits = self._kill_at
        elif self._handle.stop_requested is not None or self._handle.is_cut_off or self._noted is not None:
            limits = 0.0  # it may have been taken in before this watch began
        else:
            limits = min(self._limits.deadline, self._disk.due, self._gpus.due)
        return min(
            max(limits, self._idle_until),
            NEVER if self._pump.due is None else self._pump.due,
            self._meter.due,
            self._output_ended + EOF_PATIENCE,
        )

    def _hear_exit(self) -> None:
        """The wait call's headers come at once, its body when the container has ended."""
        assert self._wait is not None
        buffer = bytearray(4096)
        count = self._wait.read_into(memoryview(buffer))
        if count:
            self._said += buffer[:count]
        elif count == 0:
            _exit_code(self._said)
            self._wait.close()
            self._wait = None

    def _duties(self, now: float) -> None:
        if self._pump.due is not None and now >= self._pump.due:
            self._pump.flush()
        if now >= self._meter.due:
            self._meter.sample()
        if now >= self._output_ended + EOF_PATIENCE and self._wait is not None:
            self._output_ended = NEVER
            self._open_streams()
        if self._wait is not None:
            self._enforce_patiently(now)

    # --- limits ------------------------------------------------------------------------------------------

    def _enforce_patiently(self, now: float) -> None:
        """An engine that cannot end a container now says nothing of the container: it is asked again."""
        try:
            self._enforce(now)
        except EngineRefused as refused:
            if refused.status < 500:
                raise
            if now > self._idle_until + KILL_AGAIN:  # said once
                log.warning("container not ended yet", container=self._container[:12], why=str(refused))
            self._idle_until = now + LATE_PATIENCE

    def _enforce(self, now: float) -> None:
        if now < self._idle_until:
            return
        if self._reason is not None:
            if now >= self._kill_at:
                self._engine.kill(self._container, "SIGKILL")
                self._kill_at = now + KILL_AGAIN
            return
        if now >= self._disk.due:
            self._disk.step()
        if now >= self._gpus.due:
            self._gpus.step()
        grace = self._handle.stop_requested
        if grace is not None:
            # A long grace must not outlast the timeout.
            self._end("stop", min(grace, max(0.0, self._limits.deadline - now) + self._limits.grace), now)
        elif self._handle.is_cut_off:
            self._end("partition", self._limits.grace, now)
        elif now >= self._limits.deadline:
            self._end("timeout", self._limits.grace, now)
        elif self._disk.over or self._noted == "disk":
            self._end("disk", 0.0, now)
        elif self._gpus.found:
            self._end(self._gpus.found, self._limits.grace if self._gpus.found == "gpu_lost" else 0.0, now)
        elif self._noted is not None:
            self._end(self._noted, self._limits.grace, now)

    def _end(self, reason: Reason, grace: float, now: float) -> None:
        """SIGTERM, `grace` seconds, SIGKILL. A container that has ended by itself gave its own reason."""
        before, self._noted = self._noted, reason
        if before != reason:
            log.info("container is ended", container=self._container[:12], reason=reason, grace=grace)
            self._note(reason)
        if self._engine.kill(self._container, "SIGTERM" if grace > 0 else "SIGKILL"):
            self._reason, self._kill_at = reason, now + (grace if grace > 0 else KILL_AGAIN)
        else:
            self._noted, self._idle_until = before, now + LATE_PATIENCE
            self._note(before or "")

    # --- after its end -----------------------------------------------------------------------------------

    def _read_rest(self) -> None:
        """The output to its last byte: from the open stream, else from the engine's own copy."""
        complete = self._live and self._output is None and not self._outage
        if self._live and self._output is not None:
            complete = self._drain(self._output)
        if complete and not self._left_by_its_engine():
            return
        patiently(self._handle, self._replay, started=True)
        if self._mute:
            return
        if self._pump.beginning_gone:
            if not complete or patiently(self._handle, self._ran_on, started=True):
                self._replay_all()
        elif self._pump.behind and not complete:
            self._pump.note_end_gone()

    def _ran_on(self) -> bool:
        """Whether it ended under an engine that came after the one it was attached to: the copy has more than was
        read, though its beginning is gone."""
        found = self._engine.inspect(self._container)
        return found is not None and not ended_before(found, self._engine.started_at())

    def _left_by_its_engine(self) -> bool:
        """Whether the output that was attached ended with the engine that it came from: a body that was frozen, or
        between two calls, asks the next one of the container's end without having seen that engine go."""
        try:
            return not same_engine(self._attached_to, self._engine.started_at())
        except EngineUnavailable:
            self._outage = True  # away right at the end: it may have taken the container along
            return True

    def _replay(self) -> None:
        self._pump.rewind()
        self._read_copy()

    def _replay_all(self) -> None:
        """Once: what a second reading brings could not be told from what the first one brought."""
        copy = patiently(self._handle, lambda: self._copy(follow=False), started=True)
        if copy is None:
            return
        self._pump.take_all()
        try:
            if not self._drain(copy):
                log.warning("output incomplete: the engine's copy broke off", container=self._container[:12])
        finally:
            copy.close()

    def _read_copy(self) -> None:
        """Raises EngineUnavailable, but not for ever: the job's end must not hang on its log."""
        try:
            copy = None if self._mute else self._copy(follow=False)
        except EngineRefused:
            copy = None  # deleted in the instant after its end: what was read is all there is
        if copy is None:
            return
        self._copies += 1
        try:
            asked = self._engine.started_at()
            # An engine that dies ends the stream as if that were all of it.
            if not self._drain(copy) or not same_engine(asked, self._engine.started_at()):
                if self._copies < COPY_TRIES:
                    raise EngineUnavailable("the engine's copy of the output does not come")
                log.warning("output incomplete: the engine's copy does not come", container=self._container[:12])
        finally:
            copy.close()

    def _copy(self, *, follow: bool) -> EngineStream | None:
        """The engine's copy of the output; None: it keeps none, so what was read is all there is."""
        try:
            return self._engine.logs(self._container, follow=follow)
        except EngineRefused as refused:
            if refused.status == 404:
                raise
            log.warning("the engine's copy of the output is not to be had", why=refused.words)
            self._mute = True
            return None

    def _drain(self, stream: EngineStream) -> bool:
        """Read to the end; False when it fell silent or broke. Raises Detached."""
        quiet_until = time.monotonic() + DRAIN_PATIENCE
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLIN)
        poll.register(self._handle.fileno(), select.POLLIN)
        while time.monotonic() < quiet_until:
            ready = {number for number, _ in poll.poll((quiet_until - time.monotonic()) * 1000)}
            if self._handle.fileno() in ready:
                self._handle.drain()
            if self._handle.detached:
                raise Detached
            if stream.fileno() in ready:
                try:
                    if not self._pump.read(stream):
                        return True
                except EngineUnavailable:
                    return False
                quiet_until = time.monotonic() + DRAIN_PATIENCE
        return False

    def _close_streams(self) -> None:
        for stream in (self._output, self._wait):
            if stream is not None:
                stream.close()
        self._output = self._wait = None
        self._output_ended = NEVER


def _exit_code(said: bytes) -> int:
    """What the wait call said in the end. Raises EngineUnavailable when it was broken off."""
    try:
        return int(json.loads(said)["StatusCode"])
    except (ValueError, KeyError, TypeError):
        raise EngineUnavailable("the engine broke off its wait call") from None
