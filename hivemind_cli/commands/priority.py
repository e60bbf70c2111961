"""`hivemind priority`: change a waiting job's place in the line."""

from __future__ import annotations

import click

from hivemind_cli.errors import CliError
from hivemind_cli.output import emit_json, note
from hivemind_cli.session import Session, command, pass_session


@command()
@click.argument("task_id", metavar="ID")
@click.argument("priority", metavar="0..9", type=click.IntRange(0, 9))
@pass_session
def priority(session: Session, task_id: str, priority: int) -> None:
    """Give a job that waits another priority, 0 to 9. One that has started keeps what it has."""
    with session.client() as client:
        answer = client.prioritize(task_id, priority)
    if not answer["accepted"]:
        raise CliError(f"{task_id} does not wait any more: it is {answer['state']}")
    if session.json:
        emit_json(answer)
    else:
        note(f"{task_id} waits with priority {priority}")
