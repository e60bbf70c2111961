"""`hivemind wait`: until jobs have ended."""

from __future__ import annotations

import click

from hivemind_cli.endings import sentence
from hivemind_cli.following import until_ended
from hivemind_cli.outage import patience_option
from hivemind_cli.output import emit_json
from hivemind_cli.progress import StatusLine
from hivemind_cli.session import Session, command, pass_session


@command()
@click.argument("task_ids", metavar="ID...", nargs=-1, required=True)
@patience_option
@pass_session
def wait(session: Session, task_ids: tuple[str, ...]) -> int:
    """Wait until every job has ended. Exits 0 when all completed, 1 when any did not."""
    ended = []
    with session.client() as client, StatusLine() as line:
        for task_id in task_ids:
            client.get(task_id)  # an id that is wrong is said before an hour of waiting for the others
        for task_id in task_ids:
            ended.append(until_ended(client, task_id, line))
            if not session.json:
                line.clear()
                print(sentence(ended[-1]), flush=True)
    if session.json:
        emit_json({"tasks": ended})
    return 0 if all(task["state"] == "completed" for task in ended) else 1
