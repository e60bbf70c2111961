"""requirements.txt of a bundle: whether there is something to install, the wrapper that does it, and its marker."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path

from hivemind_worker.execution.verdict import Requirements

FILE = "requirements.txt"
#: our own corner of a workspace; not part of any artifact
OWN = ".hivemind"
_MARKER = "requirements"
_MARKS: dict[str, Requirements] = {"installing": "installing", "failed": "failed", "no-pip": "no-pip"}
_MAX_READ = 1024 * 1024


def asks_for_packages(work: Path) -> bool:
    """Whether the workspace has a requirements.txt with more than blank lines and comments."""
    try:
        text = _read(work, (FILE,))
    except OSError:
        return False
    lines = (line.strip() for line in text.splitlines())
    return any(line and not line.startswith(b"#") for line in lines)


def wrap(program: Sequence[str]) -> tuple[str, ...]:
    """The words that install the requirements and then become `program`."""
    return ("/bin/sh", "-c", _script(), "hivemind", *program)


def wrapper_env(network: str) -> dict[str, str]:
    """What the wrapper wants to know."""
    return {"HIVEMIND_OFFLINE": "1" if network == "none" else "0"}


def read_marker(work: Path) -> Requirements:
    """Where the wrapper was when the container ended; '' when it was through, or never ran."""
    try:
        text = _read(work, (OWN, _MARKER)).decode("ascii", "replace").strip()
    except OSError:
        return ""
    return _MARKS.get(text, "")


@cache
def _script() -> str:
    return (resources.files("hivemind_worker.execution") / "requirements.sh").read_text("utf-8")


def _read(work: Path, names: Sequence[str]) -> bytes:
    """A file below `work`; nothing is followed and nothing but a file is read. Raises OSError."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    here = os.open(work, flags | os.O_DIRECTORY)
    try:
        for name in names[:-1]:
            below = os.open(name, flags | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
        with os.fdopen(os.open(names[-1], flags, dir_fd=here), "rb") as file:
            return file.read(_MAX_READ)
    finally:
        os.close(here)
