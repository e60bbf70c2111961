"""`hivemind up`, once the plan is made: starts the services, keeps them, stops them in order.

Runs as a process of its own that imports nothing but the standard library, because it lives as long as the node.
One thread, one selector: children's output and ends, signals, and the next restart are all it ever wakes for.
"""

from __future__ import annotations

import argparse
import errno
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

from hivemind_cli import nodefile, processes, readiness
from hivemind_cli.folders import take_back
from hivemind_cli.logfile import LogFile
from hivemind_cli.plan import Plan
from hivemind_cli.preparing import StartRefused, check_doors, end_leftovers, lock_state, make_folders
from hivemind_cli.probes import NotReady
from hivemind_cli.redis_files import remove_leftovers
from hivemind_cli.reporting import Reporter
from hivemind_cli.unit import Unit

#: seconds that a node may take until it is ready, and failures of one service meanwhile
READY_WITHIN, TRIES = 120.0, 3
#: seconds between two looks at a service that is starting
LOOK = 0.1
#: what keeps a process from being started now and not for ever
PASSING = (errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ETXTBSY)
#: after so many failures in a row a service's last words are shown again
LOOP = 5


class Supervisor:
    """One node's processes."""

    def __init__(self, plan: Plan, report: Reporter) -> None:
        self._plan, self._report = plan, report
        self._state = Path(plan.state)
        logs = self._state / "logs"
        self._own_log = LogFile(logs / "supervisor.log")
        self._units = [Unit(service, logs / f"{service.name}.log") for service in plan.services]
        self._selector = selectors.DefaultSelector()
        self._before_exec = processes.die_with_parent()
        self._identity = processes.identity(os.getpid()) or ""  # once: later there may be no descriptor to spare
        self._asked = 0  # how often we were told to stop
        self._up = False
        self._next_look = 0.0
        self._wake_fd, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_fd, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop_asked)

    def run(self) -> int:
        """Until told to stop. The exit code: 0, or 1 when the node did not come up."""
        began = time.monotonic()
        try:
            while not self._asked:
                if not self._up:
                    self._start_fresh()
                    self._rise(time.monotonic() - began)
                self._turn()
            if not self._up:
                raise StartRefused("", "it was told to stop before it was ready")
            return 0
        except StartRefused as refusal:
            self._say(str(refusal), aloud=False)
            self._report.failed(refusal)
            return 1
        finally:
            self._stop_all()

    # --- starting -------------------------------------------------------------------------------------

    def _start_fresh(self) -> None:
        """Start what was never started and has what it needs: everything else waits for Redis."""
        redis_ready = all(unit.ready for unit in self._units if unit.service.stage == 0)
        for unit in self._units:
            if not unit.started and (redis_ready or unit.service.stage == 0):
                self._start(unit)

    def _start(self, unit: Unit) -> None:
        if unit.service.probe["kind"] == "redis":
            for name in remove_leftovers(self._state / "redis"):
                self._say(f"removed {name}, left over from a Redis that was killed", aloud=False)
        try:
            unit.start(self._before_exec)
            self._watch(unit)
        except (OSError, MemoryError, subprocess.SubprocessError) as error:
            self._not_started(unit, error)
            return
        self._next_look = 0.0
        self._record()

    def _watch(self, unit: Unit) -> None:
        """Hear of its end and its output. Raises OSError, and then it does not run."""
        try:
            self._selector.register(unit.pidfd, selectors.EVENT_READ, (unit, "end"))
            self._selector.register(unit.pipe, selectors.EVENT_READ, (unit, "output"))
        except BaseException:
            self._forget(unit.pidfd, unit.pipe)
            unit.abandon()
            raise

    def _not_started(self, unit: Unit, error: Exception) -> None:
        """A machine that has no memory, process or disk to spare now may have it later; a node that is up stays up."""
        why = f"{unit.service.argv[0]} cannot be started: {error}"
        unit.failures += 1
        passing = isinstance(error, OSError) and error.errno in PASSING
        if not self._up and (not passing or unit.failures >= TRIES):
            raise StartRefused(unit.name, why) from None
        self._say(f"{unit.name}: {why}; trying again in {unit.schedule():g} s")
        self._record()

    def _rise(self, seconds: float) -> None:
        """Say that the node is up as soon as it is; give up on it when it takes too long."""
        slow = [unit for unit in self._units if not unit.ready]
        if not slow:
            self._up = True
            self._say(f"up after {seconds:.1f} s", aloud=False)
            workers = [unit.service.probe for unit in self._units if unit.service.probe["kind"] == "worker"]
            self._report.up(self._record(), seconds, [line for probe in workers for line in readiness.remarks(probe)])
        elif seconds > READY_WITHIN:
            words, log = slow[0].tail(), slow[0].log.path
            raise StartRefused(slow[0].name, f"was not ready within {READY_WITHIN:.0f} s", words, log)

    # --- the loop ---------------------------------------------------------------------------------------

    def _turn(self, timeout: float | None = None) -> None:
        """Wait for whatever comes next, and see to it. `timeout`: we are stopping, and wait no longer."""
        for key, _ in self._selector.select(self._until_next() if timeout is None else timeout):
            if key.data is None:
                os.read(self._wake_fd, 64)
                continue
            unit, what = key.data
            self._event(unit, what, key.fd)
        if not self._asked:
            self._restart_due()
            self._look()

    def _event(self, unit: Unit, what: str, descriptor: int) -> None:
        if unit.process is None:  # its end came first in this very batch
            return
        if what == "end":
            self._ended(unit)
        elif not unit.drain():
            self._selector.unregister(descriptor)

    def _until_next(self) -> float | None:
        """Seconds; None: nothing but events."""
        now = time.monotonic()
        due = [unit.restart_at for unit in self._units if unit.restart_at is not None]
        if any(unit.process and not unit.ready for unit in self._units):
            due.append(self._next_look)
        return max(0.0, min(due) - now) if due else None

    def _look(self) -> None:
        """Ask those that are starting whether they are ready."""
        starting = [unit for unit in self._units if unit.process and not unit.ready]
        if not starting or time.monotonic() < self._next_look:
            return
        for unit in starting:
            try:
                readiness.check(unit.service.probe, unit.started)
            except NotReady:
                continue
            unit.ready_at = time.monotonic()
            self._say(f"{unit.name} is ready", aloud=self._up)
            self._record()
        # A service that takes long is asked less and less often: the whole node may be waiting for a slow disk.
        slowest = max(time.time() - unit.started for unit in starting)
        self._next_look = time.monotonic() + max(LOOK, min(2.0, slowest / 20))

    def _ended(self, unit: Unit) -> None:
        self._forget(unit.pidfd, unit.pipe)
        how = unit.ended()
        self._record()
        if self._asked:
            return
        if not self._up and unit.failures >= TRIES:
            raise StartRefused(unit.name, how, unit.tail(), unit.log.path)
        pause = unit.schedule()
        self._say(f"{unit.name} {how}; starting it again in {pause:g} s (log: {unit.log.path})")
        if unit.failures % LOOP == 0:
            self._say(f"{unit.name} has failed {unit.failures} times in a row; its last words:")
            for line in unit.tail():
                self._say(f"  {line}")

    def _forget(self, *descriptors: int) -> None:
        for descriptor in descriptors:
            if descriptor in self._selector.get_map():
                self._selector.unregister(descriptor)

    def _restart_due(self) -> None:
        now = time.monotonic()
        for unit in self._units:
            if unit.restart_at is not None and unit.restart_at <= now:
                self._start(unit)

    # --- stopping ---------------------------------------------------------------------------------------

    def _stop_asked(self, number: int, _frame: object) -> None:
        # A hang-up is only for those who sit at the terminal.
        if number == signal.SIGHUP and not self._report.at_terminal:
            return
        self._asked += 1

    def _stop_all(self) -> None:
        """Later stages first; within its grace each, unless we are told to stop once more."""
        if self._asked:
            self._say("stopping; running jobs go on", aloud=self._report.at_terminal)
        asked, self._asked = self._asked, max(1, self._asked)
        for stage in sorted({unit.service.stage for unit in self._units}, reverse=True):
            living = [unit for unit in self._units if unit.service.stage == stage and unit.process]
            for unit in living:
                unit.signal(signal.SIGTERM)
            limits = {unit: time.monotonic() + unit.service.grace for unit in living}
            while living := [unit for unit in living if unit.process]:
                now = time.monotonic()
                for unit in living:
                    if now >= limits[unit] or (self._asked > max(1, asked) and stage > 0):
                        self._say(f"{unit.name} did not leave in time; killed")
                        unit.signal(signal.SIGKILL)
                        limits[unit] = now + 5.0
                self._turn(max(0.0, min(limits[unit] for unit in living) - now))
        nodefile.remove(self._state)
        self._say("stopped", aloud=self._up and self._report.at_terminal)
        for unit in self._units:
            unit.log.close()
        self._own_log.close()
        self._selector.close()

    # --- telling ----------------------------------------------------------------------------------------

    def _record(self) -> dict[str, object]:
        """Into node.json. Where that fails, as on a full disk, the node goes on and the next record may succeed."""
        document = nodefile.describe(self._plan, self._identity, [unit.describe() for unit in self._units])
        try:
            nodefile.write(self._state, document)
        except OSError as error:
            self._say(f"warning: node.json cannot be written ({error.strerror}): 'hivemind down' may not know of us")
        return document

    def _say(self, message: str, *, aloud: bool = True) -> None:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._own_log.write(f"{stamp} {message}\n".encode())
        if aloud:
            self._report.say(message)


def main() -> None:
    """Read the plan, take the state, run the node."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plan-fd", type=int, required=True)
    parser.add_argument("--ready-fd", type=int)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with os.fdopen(given.plan_fd, encoding="utf-8") as file:
        plan = Plan.from_json(file.read())
    report = Reporter(plan, ready_fd=given.ready_fd, as_json=given.json)
    made: list[Path] = []
    try:
        make_folders(plan, made)
        lock = lock_state(Path(plan.state), made)
        for name in end_leftovers(Path(plan.state)):
            report.say(f"ended {name}, left over from a node that was killed")
        check_doors(plan)
    except StartRefused as refusal:
        take_back(made)
        report.failed(refusal)
        sys.exit(1)
    os.chdir("/")
    code = Supervisor(plan, report).run()
    os.close(lock)
    sys.exit(code)


if __name__ == "__main__":
    main()
