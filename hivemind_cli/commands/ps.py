"""`hivemind ps`: the jobs, one line each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from hivemind_cli.commands.show import readable
from hivemind_cli.output import age, duration, emit_json, note, ran_for, size, table, width, without
from hivemind_cli.session import Session, command, pass_session

STATES = ("waiting", "admitted", "preparing", "running", "collecting", "completed", "failed", "stopped")
HEAD = ("ID", "STATE", "END", "ATTEMPT", "CPU", "MEMORY", "GPUS", "AGE", "RAN", "OWNER", "WHAT")
FIGURES = ("ATTEMPT", "CPU", "MEMORY", "GPUS", "AGE", "RAN")
#: what most jobs have: a column that has nothing else is left out
USUAL = {"ATTEMPT": "1", "GPUS": "-", "OWNER": "-"}


@command()
@click.option("-a", "--all", "everything", is_flag=True, help="Those that have ended too.")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--owner", metavar="NAME", help="Only this owner's.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many, newest first.")
@click.option("--cursor", default="", help="Go on behind an earlier page: its `next`.")
@pass_session
def ps(session: Session, everything: bool, state: str | None, owner: str | None, limit: int, cursor: str) -> None:
    """List jobs, newest first: the active ones, or all with -a."""
    with session.client() as client:
        page = client.list(
            state=state or "",
            owner=owner or "",
            limit=limit,
            cursor=cursor,
            active_only=not everything and state is None,
        )
    if session.json:
        emit_json(page)
        return
    if page["tasks"]:
        now = datetime.now(UTC)
        print("\n".join(listing(page["tasks"], now)))
    else:
        note("no jobs" if everything or state else "no active jobs; -a lists those that have ended")
    if page.get("note"):
        note(page["note"])
    if page.get("next"):
        note(f"there are more: --cursor {page['next']}, or a larger --limit")


def listing(tasks: list[dict[str, Any]], now: datetime) -> list[str]:
    """Jobs as a table; owners, GPUs and attempts only where there is something to tell."""
    head, rows = without(HEAD, [row(task, now) for task in tasks], USUAL)
    return table(head, rows, width(), FIGURES)


def row(task: dict[str, Any], now: datetime) -> tuple[str, ...]:
    """One job's cells."""
    known = readable(task)
    return (
        task["task_id"],
        task["state"],
        _end(task),
        str(max(1, task["attempt"])),
        f"{task['requests']['cpu']:g}" if known else "-",
        size(task["requests"]["memory"] if known else None),
        _gpus(task["requests"]),
        duration(age(task["times"]["created"], now)),
        duration(ran_for(task, now)),
        task["owner"] or "-",
        what(task),
    )


def _gpus(asked: dict[str, Any]) -> str:
    if not asked.get("gpus"):
        return "-"
    return f"{asked['gpus']}x{size(asked['gpu_memory'])}" if asked.get("gpu_memory") else str(asked["gpus"])


def _end(task: dict[str, Any]) -> str:
    if task["cause"] == "exit":
        return f"exit {task['exit_code']}"
    return task["cause"] or "-"


def _turn(waiting: dict[str, Any]) -> Iterator[str]:
    """Its place and its probable start, as far as they are known."""
    if waiting["position"]:
        yield f"No. {waiting['position']}"
    if waiting["eta_seconds"] is not None:
        yield f"in about {duration(waiting['eta_seconds'])}"


def what(task: dict[str, Any]) -> str:
    """What is wrong with its record; where it stands in the line, when it starts and why it waits; or what it runs."""
    if not readable(task):
        return str(task["evidence"])
    waiting = task.get("waiting")
    if waiting and waiting.get("reason"):
        return ": ".join(filter(None, (", ".join(_turn(waiting)), str(waiting["reason"]))))
    image = task["image"].rpartition("/")[2]  # the registry is the same for most, and long; `show` has it all
    words = [image, *task["command"]]
    return " ".join(words) if task["command"] or not task.get("bundle_sha256") else f"{image} (bundle)"
