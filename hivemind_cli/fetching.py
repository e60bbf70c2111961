"""An artifact from the bridge into a directory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hivemind_cli.errors import CliError
from hivemind_cli.folders import make_folder, take_back
from hivemind_cli.progress import StatusLine, Transfer
from hivemind_cli.unpack import unpack

if TYPE_CHECKING:
    from bridge.client import Client

SCRATCH = ".hivemind-fetch-"


@contextmanager
def output_folder(target: Path | None) -> Iterator[None]:
    """Before a job is assigned, its `target` is there and proven to take files; unused, it is taken back at the end.

    Raises CliError with 2 when nothing can be written there.
    """
    made: list[Path] = []
    try:
        if target is not None:
            _prove(target, made)
        yield
    finally:
        take_back(made)


def _prove(target: Path, made: list[Path]) -> None:
    try:
        make_folder(target, made)
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=target):
            pass
    except OSError as error:
        message = f"--output: cannot write into {target}: {error.strerror}; name another directory"
        raise CliError(message, kind="USAGE", field="output", code=2) from None


def fetch_into(client: Client, task_id: str, target: Path, line: StatusLine) -> list[str]:
    """Download and unpack; the names of the files. Raises CallError, CliError."""
    # Beside the files, so that it needs no room in a small /tmp.
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=target) as scratch:
        archive = Path(scratch) / "artifact.zip"
        client.download(task_id, archive, Transfer(line, "downloading"))
        line.show("unpacking", now=True)
        return unpack(archive, target)
