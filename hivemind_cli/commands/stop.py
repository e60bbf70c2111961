"""`hivemind stop`: ask for a job's end."""

from __future__ import annotations

import click

from hivemind_cli.joboptions import DURATION
from hivemind_cli.output import ENDED, emit_json, note
from hivemind_cli.session import Session, command, pass_session


@command()
@click.argument("task_id", metavar="ID")
@click.option("--grace", type=DURATION, metavar="TIME", help="From SIGTERM to SIGKILL. [default: the node's]")
@pass_session
def stop(session: Session, task_id: str, grace: float | None) -> None:
    """Stop a job: SIGTERM, its grace, SIGKILL. A job that waits ends at once."""
    with session.client() as client:
        answer = client.cancel(task_id, grace)
    if session.json:
        emit_json(answer)
    elif not answer["accepted"]:
        note(f"{task_id} had ended before ({answer['state']})")
    elif answer["state"] in ENDED:
        note(f"{task_id} {answer['state']}")
    else:
        note(f"{task_id} is being stopped; 'hivemind wait {task_id}' waits for its end")
