"""An artifact from the bridge into a directory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hivemind_cli.progress import StatusLine, Transfer
from hivemind_cli.unpack import unpack

if TYPE_CHECKING:
    from bridge.client import Client


def fetch_into(client: Client, task_id: str, target: Path, line: StatusLine) -> list[str]:
    """Download and unpack; the names of the files. Raises CallError, CliError."""
    # Beside the files, so that it needs no room in a small /tmp.
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".hivemind-fetch-", dir=target) as scratch:
        archive = Path(scratch) / "artifact.zip"
        client.download(task_id, archive, Transfer(line, "downloading"))
        line.show("unpacking", now=True)
        return unpack(archive, target)
