"""`hivemind run`: assign one job, stream its log, bring its artifact, exit as it exited."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hivemind_cli.endings import INFRASTRUCTURE, INTERRUPTED, REJECTED, exit_code, sentence
from hivemind_cli.errors import AWAY, CliError, call_fault
from hivemind_cli.fetching import fetch_into, output_folder
from hivemind_cli.following import LogPrinter, WaitReason, until_ended
from hivemind_cli.ids import new_id
from hivemind_cli.interrupting import Stopper, stop_on_interrupt
from hivemind_cli.joboptions import PASS_ON, JobSpec, job_options, job_spec
from hivemind_cli.outage import patience_option
from hivemind_cli.output import emit_json, note
from hivemind_cli.progress import StatusLine
from hivemind_cli.sending import upload
from hivemind_cli.session import Session, command, pass_session

if TYPE_CHECKING:
    from bridge.client import CallError, Client

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
@patience_option
@pass_session
def run(session: Session, /, task_id: str | None, output: Path | None, **given: Any) -> int:
    """See _HELP."""
    spec, wanted = job_spec(given), task_id or new_id()
    with (
        output_folder(output),
        session.client() as client,
        StatusLine() as line,
        stop_on_interrupt(session.client, wanted) as stopper,
    ):
        _assign(session, client, spec, wanted, line, stopper)
        task = _follow(session, client, wanted, line, output)
    if task["state"] != "completed":
        note(f"hivemind: {sentence(task)}")
    elif output is not None and not task.get("artifact"):
        note("hivemind: the job left no artifact")
    if session.json:
        emit_json(task)
    return INTERRUPTED if stopper.asked else exit_code(task)


def _assign(session: Session, client: Client, spec: JobSpec, task_id: str, line: StatusLine, stopper: Stopper) -> None:
    """Make it a job. Raises CliError with 125 when the bridge is away, 126 when the job is refused."""
    from bridge.client import CallError

    try:
        digest = upload(client, spec, line)
        stopper.take_over()
        answer = client.assign(spec.assignment(task_id, digest))
    except CallError as error:
        raise _rejection(error, session) from None
    except CliError as error:
        error.code = REJECTED
        raise
    stopper.accepted()
    if not answer["created"]:
        note(f"hivemind: {task_id} was accepted before; following it")


def _rejection(error: CallError, session: Session) -> CliError:
    fault = call_fault(error.code, error.message, error.field, session.bridge)
    code = INFRASTRUCTURE if error.code in AWAY | {"INTERNAL", "UNKNOWN", "DATA_LOSS"} else REJECTED
    return CliError(fault.message, kind=fault.kind, field=fault.field, code=code)


def _follow(session: Session, client: Client, task_id: str, line: StatusLine, output: Path | None) -> dict[str, Any]:
    """Its log, its end, its files. Raises CliError with 125 when the bridge is lost for good: the job goes on."""
    from bridge.client import CallError

    try:
        WaitReason(client, task_id, line)
        LogPrinter(client, task_id, line, first=0, to_stderr=session.json).print(follow=True)
        task = until_ended(client, task_id)
        if output is not None and task.get("artifact"):
            fetch_into(client, task_id, output, line)
        return task
    except CallError as error:
        message = f"lost sight of {task_id}: {error.message}; 'hivemind logs -f {task_id}' finds it again"
        raise CliError(message, kind=error.code, code=INFRASTRUCTURE) from None
    except CliError as error:
        error.code = INFRASTRUCTURE
        raise
