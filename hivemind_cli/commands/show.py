"""`hivemind show`: everything about one job."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from hivemind_cli.commands.nodes import trouble
from hivemind_cli.following import why
from hivemind_cli.output import ENDED, STATE_COLOURS, clean, duration, emit_json, ran_for, size, styled
from hivemind_cli.session import Session, command, pass_session

if TYPE_CHECKING:
    from bridge.client import Client


@command()
@click.argument("task_id", metavar="ID")
@pass_session
def show(session: Session, task_id: str) -> None:
    """Everything about one job."""
    with session.client() as client:
        task = client.get(task_id)
        wrong = "" if session.json else _trouble(client, task)
    if session.json:
        emit_json(task)
        return
    for name, value in described(task, wrong):
        print(f"{name + ':':<12} {value}")


def _trouble(client: Client, task: dict[str, Any]) -> str:
    """What is wrong with the node that holds the job; '' when nothing is, or nobody holds it."""
    from bridge.client import CallError

    if not task["node"] or task["state"] == "waiting" or task["state"] in ENDED:
        return ""
    try:
        return "; ".join(trouble(node) for node in client.nodes(task["node"]))
    except CallError:
        return ""


def described(task: dict[str, Any], node_trouble: str = "") -> Iterator[tuple[str, str]]:
    """The job as lines for a person; what is not known yet is left out. `node_trouble`: of the node that holds it."""
    usage = task.get("usage")
    yield "id", task["task_id"]
    yield "state", styled(why(task), STATE_COLOURS.get(task["state"]))
    if task["cause"]:
        code = f", exit code {task['exit_code']}" if task["exit_code"] is not None else ""
        yield "cause", f"{task['cause']}{code}"
    if task["evidence"]:
        yield "evidence", clean(task["evidence"])
    if readable(task):
        yield from _asked(task)
    yield "attempt", f"{task['attempt']}, priority {task['priority']}"
    for past in task.get("attempts", ()):
        if task["state"] == "waiting" or past["attempt"] != task["attempt"]:
            end = clean(f"{past['cause']}: {past['evidence']}" if past["evidence"] else str(past["cause"]))
            yield f"attempt {past['attempt']}", f"{end} (on {past['node']})"
    if task["owner"]:
        yield "owner", clean(task["owner"])
    if task["node"]:
        where = f"{task['node']} ({task['worker']})" if task["worker"] else task["node"]
        yield "node", f"{where}, {node_trouble}" if node_trouble else where
    elif task.get("home"):
        yield "node", f"{task['home']} (no other may run it: it holds its bundle or secrets)"
    yield from _times(task)
    ended = task["state"] in ENDED  # what it used and printed is counted at its end
    if usage and ended:
        yield (
            "used",
            (
                f"{usage['cpu_seconds']:.2f} s of CPU, {size(usage['memory_peak'])} memory at its peak, "
                f"{size(usage.get('block_read', 0))} read, {size(usage.get('block_write', 0))} written"
            ),
        )
    archived = task.get("archived")
    if archived:
        yield "log", "gone; only the history knows this job"
    elif task["log"] and ended:
        yield (
            "log",
            size(task["log"]["bytes"]) + (" (some of it dropped)" if task["log"]["truncated"] else ""),
        )
    if task["artifact"]:
        kept = " (no longer kept)" if archived and archived["artifact_kept"] is False else ""
        yield "artifact", f"{size(task['artifact']['size'])}, sha256:{task['artifact']['sha256']}{kept}"


def readable(task: dict[str, Any]) -> bool:
    """Whether its record can be read; of one that cannot, only the evidence says something."""
    return bool(task["image"])


def _asked(task: dict[str, Any]) -> Iterator[tuple[str, str]]:
    asked = task["requests"]
    yield "image", clean(task["image"])
    if task["command"]:
        yield "command", clean(shlex.join(task["command"]))
    if task.get("bundle_sha256"):
        yield "bundle", f"sha256:{task['bundle_sha256']}"
    share = f"{size(asked['gpu_memory'])} each" if asked.get("gpu_memory") else "whole"
    gpus = f", {asked['gpus']} GPUs ({share})" if asked.get("gpus") else ""
    limit = f" (at most {asked['cpu_limit']:g})" if asked.get("cpu_limit") else ""
    kind = " that others leave idle" if asked.get("reclaimable") else ""
    amounts = f"{asked['cpu']:g} cores{limit}{kind}, {size(asked['memory'])} memory, {size(asked['disk'])} disk"
    yield "asked for", f"{amounts}, {asked['pids']} pids{gpus}"


def _times(task: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("created", "admitted", "started", "finished"):
        if task["times"].get(name):
            yield name, task["times"][name]
    ran = ran_for(task, datetime.now(UTC))
    if ran is not None:
        yield "ran", duration(ran)
