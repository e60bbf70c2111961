"""`hivemind run`: assign one job, stream its log, bring its artifact, exit as it exited."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hivemind_cli.endings import INFRASTRUCTURE, INTERRUPTED, REJECTED, exit_code, sentence
from hivemind_cli.errors import AWAY, CliError, call_fault
from hivemind_cli.fetching import fetch_into
from hivemind_cli.following import LogPrinter, WaitReason
from hivemind_cli.ids import new_id
from hivemind_cli.joboptions import PASS_ON, job_options, job_spec
from hivemind_cli.output import emit_json, note
from hivemind_cli.progress import StatusLine
from hivemind_cli.sending import upload
from hivemind_cli.session import Session, command, pass_session

if TYPE_CHECKING:
    from bridge.client import Client

#: seconds that leaving "at once" may take for the stop to reach the bridge
AT_ONCE = 1.0
_HELP = """Assign one job, stream its log, exit as it exits.

\b
  hivemind run --cpu 0.5 --memory 256M IMAGE COMMAND...
  hivemind run --bundle DIR --output results

What follows IMAGE belongs to the job. Exits with the container's own code, or 124 timeout, 125 not the job's fault,
126 rejected, 137 out of memory, 130 after Ctrl-C, which stops the job; a second Ctrl-C leaves at once.
"""


@command(context_settings=PASS_ON, help=_HELP)
@job_options
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), help="Unpack the artifact here.")
@pass_session
def run(session: Session, /, task_id: str | None, output: Path | None, **given: Any) -> int:
    """See _HELP."""
    spec, wanted = job_spec(given), task_id or new_id()
    from bridge.client import CallError

    with session.client() as client, StatusLine() as line:
        try:
            digest = upload(client, spec, line)
            with stop_on_interrupt(client, wanted) as stopper:
                task = _follow(session, client, spec.assignment(wanted, digest), line, stopper)
        except CallError as error:
            raise _rejection(error, session) from None
        except CliError as error:
            error.code = REJECTED
            raise
        if output is not None and task.get("artifact"):
            fetch_into(client, wanted, output, line)
    if task["state"] != "completed":
        note(f"hivemind: {sentence(task)}")
    elif output is not None and not task.get("artifact"):
        note("hivemind: the job left no artifact")
    if session.json:
        emit_json(task)
    return INTERRUPTED if stopper.asked else exit_code(task)


def _rejection(error: Any, session: Session) -> CliError:
    """Before the job was accepted: 125 when the bridge is away, 126 when it said no."""
    fault = call_fault(error.code, error.message, error.field, session.bridge)
    code = INFRASTRUCTURE if error.code in AWAY | {"INTERNAL", "UNKNOWN", "DATA_LOSS"} else REJECTED
    return CliError(fault.message, kind=fault.kind, field=fault.field, code=code)


def _follow(
    session: Session, client: Client, assignment: dict[str, Any], line: StatusLine, stopper: Stopper
) -> dict[str, Any]:
    answer = client.assign(assignment)
    stopper.accepted()
    task_id = answer["task_id"]
    if not answer["created"]:
        note(f"hivemind: {task_id} was accepted before; following it")
    WaitReason(client, task_id, line)
    LogPrinter(client, task_id, line, first=0, to_stderr=session.json).print(follow=True)
    return client.get(task_id)


class Stopper:
    """What Ctrl-C does to a job: the first stops it, the second leaves at once."""

    def __init__(self, client: Client, task_id: str) -> None:
        self.asked = False
        self._client, self._id = client, task_id
        self._is_accepted, self._wake, self._told = threading.Event(), threading.Event(), threading.Event()
        self._left = False
        # A thread of its own: a call from inside the handler could meet locks that the main thread holds.
        self._thread = threading.Thread(target=self._work, name="stopper", daemon=True)
        self._thread.start()

    def accepted(self) -> None:
        """There is a job to stop now."""
        self._is_accepted.set()
        if self.asked:
            self._wake.set()

    def interrupt(self, *_: object) -> None:
        """The signal handler."""
        if self.asked:
            told = self._told.wait(AT_ONCE)
            words = "the job is being stopped" if told else f"'hivemind stop {self._id}' stops the job"
            os.write(2, f"\nhivemind: left; {words}\n".encode())
            os._exit(INTERRUPTED)
        self.asked = True
        os.write(2, b"\nhivemind: stopping the job; Ctrl-C again leaves at once\n")
        if self._is_accepted.is_set():
            self._wake.set()

    def leave(self) -> None:
        """The job has ended, or never was: the thread may go."""
        self._left = True
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        from bridge.client import CallError

        self._wake.wait()
        if self._left:
            return
        try:
            self._client.cancel(self._id, None)
            self._told.set()
        except CallError as error:
            note(f"hivemind: the stop did not reach the bridge: {error.message}")


@contextmanager
def stop_on_interrupt(client: Client, task_id: str) -> Iterator[Stopper]:
    """While inside, Ctrl-C asks the bridge to stop the job instead of ending us."""
    stopper = Stopper(client, task_id)
    before = signal.signal(signal.SIGINT, stopper.interrupt)
    try:
        yield stopper
    finally:
        signal.signal(signal.SIGINT, before)
        stopper.leave()
        sys.stdout.flush()
