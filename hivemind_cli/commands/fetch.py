"""`hivemind fetch`: a job's artifact into a directory."""

from __future__ import annotations

from pathlib import Path

import click

from hivemind_cli.fetching import fetch_into
from hivemind_cli.outage import patience_option
from hivemind_cli.output import emit_json, note
from hivemind_cli.progress import StatusLine
from hivemind_cli.session import Session, command, pass_session


@command()
@click.argument("task_id", metavar="ID")
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@patience_option
@pass_session
def fetch(session: Session, task_id: str, directory: Path) -> None:
    """Download a job's artifact and unpack it into DIR, over what is there."""
    with session.client() as client, StatusLine() as line:
        if not directory.exists():
            client.get(task_id)  # a wrong id must not leave an empty directory behind
        files = fetch_into(client, task_id, directory, line)
    if session.json:
        emit_json({"task_id": task_id, "directory": str(directory.absolute()), "files": files})
    else:
        note(f"{len(files)} files in {directory}")
