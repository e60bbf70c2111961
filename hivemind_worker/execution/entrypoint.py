"""Which program of a bundle is started. Pure: the caller says what lies at the bundle's root."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from hivemind_worker.domain.errors import EntrypointRefused

#: looked for in this order when the assignment names no command (contract, 'Jobs')
WELL_KNOWN = (
    "run_task.sh",
    "main.py",
    "app.py",
    "run.py",
    "script.py",
    "start.py",
    "index.py",
    "task_script.py",
    "main.sh",
    "run.sh",
)


def choose_entrypoint(
    command: Sequence[str],
    root_names: Iterable[str],
    first_line: Callable[[str], str] | None = None,
    folders: Sequence[str] = (),
) -> tuple[str, ...]:
    """The words to start: the command, else the first well-known file, else the only .py at the root.

    A `.py` is given to python3. A `.sh` is given to the interpreter its first line names (`#!/bin/bash`), whether
    or not the zip kept its executable bit, else to /bin/sh. `first_line` reads that line of a file at the root;
    `folders` are the root's folders with files, for the message.
    Raises EntrypointRefused, which says what was looked for and what was found.
    """
    if command:
        return tuple(command)
    names = sorted(set(root_names))
    for name in WELL_KNOWN:
        if name in names:
            return _start(name, first_line)
    scripts = [name for name in names if name.endswith(".py") and name != ".py"]
    if len(scripts) == 1:
        return _start(scripts[0], first_line)
    raise EntrypointRefused(_why_none(names, scripts, folders))


def _start(name: str, first_line: Callable[[str], str] | None) -> tuple[str, ...]:
    path = f"./{name}" if name.startswith("-") else name
    if name.endswith(".py"):
        return ("python3", path)
    return (*interpreter(first_line(name) if first_line else ""), path)


def interpreter(line: str) -> tuple[str, ...]:
    """'#!/usr/bin/env bash' → ('/usr/bin/env', 'bash'), split once as the kernel does; /bin/sh without one."""
    words = line.removeprefix("#!").strip().split(None, 1) if line.startswith("#!") else []
    if not words or not words[0].startswith("/"):
        return ("/bin/sh",)
    return tuple(word.rstrip() for word in words)


def _why_none(names: Sequence[str], scripts: Sequence[str], folders: Sequence[str]) -> str:
    looked = f"the assignment has no command and the bundle's root has none of {', '.join(WELL_KNOWN)}"
    if scripts:
        return f"{looked}; it has {len(scripts)} .py files ({_some(scripts)}): name one in the command"
    if folders and not names:
        inside = f"the folder {_some(folders)}" if len(folders) == 1 else f"the folders {_some(folders)}"
        return f"{looked}, nor any .py; its files lie inside {inside} and must lie at the zip's root"
    holds = f"it holds {_some(names)}" if names else "it holds no files"
    return f"{looked}, nor any .py; {holds} (files must lie at the root of the zip, not inside a folder)"


def _some(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(repr(name[:60]) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
