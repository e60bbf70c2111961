"""`hivemind submit`: assign one job and print its id."""

from __future__ import annotations

from typing import Any

from hivemind_cli.joboptions import PASS_ON, job_options, job_spec
from hivemind_cli.output import emit_json
from hivemind_cli.progress import StatusLine
from hivemind_cli.sending import send
from hivemind_cli.session import Session, command, pass_session


@command(context_settings=PASS_ON)
@job_options
@pass_session
def submit(session: Session, /, task_id: str | None, **given: Any) -> None:
    """Assign one job, print its id and return.

    What follows IMAGE belongs to the job. The id comes once the job is durable: it survives a crash of the node.
    """
    spec = job_spec(given)
    with session.client() as client, StatusLine() as line:
        answer = send(client, spec, task_id, line)
    if session.json:
        emit_json(answer)
    else:
        print(answer["task_id"])
