"""How a job's end reads: the exit code of `hivemind run`, and one line for a person."""

from __future__ import annotations

from typing import Any

from hivemind_cli.output import clean

#: not the job's fault
INFRASTRUCTURE = 125
#: never accepted, or nothing in it to run
REJECTED = 126
INTERRUPTED = 130


def exit_code(task: dict[str, Any]) -> int:
    """From the one table of causes; the container's own code where the table leaves it to that."""
    from hivemind_worker.domain.outcome import CAUSES, Cause

    try:
        rule = CAUSES[Cause(task["cause"])]
    except (KeyError, ValueError):  # a bridge that is newer than we are
        return INFRASTRUCTURE
    if rule.cli_exit is not None:
        return rule.cli_exit
    code = task["exit_code"]
    if code is None:
        return INFRASTRUCTURE if rule.fault == "infrastructure" else REJECTED
    return int(code) & 0xFF or 1


def sentence(task: dict[str, Any]) -> str:
    """'abc failed (oom): …' for a person."""
    cause = task.get("cause")
    if cause == "exit":
        cause = f"exit code {task.get('exit_code')}"
    evidence = clean((task.get("evidence") or "").strip())
    text = f"{task['task_id']} {task['state']}"
    if cause and cause != "ok":
        text += f" ({cause})"
    return f"{text}: {evidence}" if evidence and task["state"] != "completed" else text
