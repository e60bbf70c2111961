"""`hivemind logs`: a job's log, as it is or as it comes."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import click

from hivemind_cli.following import LogPrinter
from hivemind_cli.outage import patience_option
from hivemind_cli.output import emit_json
from hivemind_cli.progress import StatusLine
from hivemind_cli.reader import ends_with_reader
from hivemind_cli.session import Session, command, pass_session

if TYPE_CHECKING:
    from bridge.client import LogLine


@command()
@click.argument("task_id", metavar="ID")
@click.option("-f", "--follow", is_flag=True, help="Until the job has ended.")
@click.option("--from", "first", type=click.IntRange(0), default=0, metavar="N", help="From chunk N on.")
@patience_option
@pass_session
def logs(session: Session, task_id: str, follow: bool, first: int) -> None:
    """A job's log: its stdout on stdout, its stderr on stderr, byte for byte.

    Under --json: {task_id, chunks: [{number, stream, data}]}; what is not UTF-8 has `base64` instead of `data`.
    """
    with session.client() as client, StatusLine() as line, ends_with_reader():
        client.get(task_id)  # says at once that the id is wrong or the bridge is away
        if session.json:
            chunks = [_document(chunk) for chunk in client.logs(task_id, first=first, follow=follow)]
            emit_json({"task_id": task_id, "chunks": chunks})
        else:
            LogPrinter(client, task_id, line, first=first, to_stderr=False).print(follow=follow)


def _document(chunk: LogLine) -> dict[str, Any]:
    body: dict[str, Any] = {"number": chunk.number, "stream": chunk.stream}
    try:
        return {**body, "data": chunk.data.decode("utf-8")}
    except UnicodeDecodeError:
        return {**body, "base64": base64.b64encode(chunk.data).decode("ascii")}
