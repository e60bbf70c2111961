"""`hivemind show`: everything about one job."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from hivemind_cli.commands.nodes import trouble
from hivemind_cli.output import ENDED, STATE_COLOURS, clean, counted, duration, emit_json, ran_for, size, styled, until
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
    yield "state", styled(task["state"], STATE_COLOURS.get(task["state"]))
    yield from _line(task.get("waiting"), task["task_id"])
    if task["cause"]:
        code = f", exit code {task['exit_code']}" if task["exit_code"] is not None else ""
        yield "cause", f"{task['cause']}{code}"
    if task["evidence"]:
        yield "evidence", clean(task["evidence"])
    if readable(task):
        yield from _asked(task)
    yield "priority", str(task["priority"])
    yield from _attempts(task)
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
            written(task["log"]["bytes"]) + (" (some of it dropped)" if task["log"]["truncated"] else ""),
        )
    if task["artifact"]:
        kept = " (no longer kept)" if archived and archived["artifact_kept"] is False else ""
        yield "artifact", f"{written(task['artifact']['size'])}, sha256:{task['artifact']['sha256']}{kept}"


def _line(waiting: dict[str, Any] | None, task_id: str) -> Iterator[tuple[str, str]]:
    """Its place in the line: why it waits, where it stands, when it starts and what was promised."""
    if not waiting:
        return
    if waiting["reason"]:
        yield "because", clean(waiting["reason"])
    if waiting["position"]:
        yield "place", f"{waiting['position']} in the line"
    if waiting["eta_seconds"] is not None:
        yield "starts", f"in about {duration(waiting['eta_seconds'])}"
    promise = waiting.get("promise")
    if promise:
        who = "this job" if promise["task_id"] == task_id else f"{promise['task_id']}, which is before it"
        yield "promised", f"{who}: {until(promise['at'])} on {promise['node']} at the latest"


def _attempts(task: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Which attempt it is, who paid for the ones before, and how those ended."""
    spent, attempts = task.get("spent") or {"own": 0, "infrastructure": 0}, task.get("attempts", ())
    paid = [f"{spent['own']} of {counted(task['retries'], 'own retry', 'own retries')} used"] if task["retries"] else []
    if spent["infrastructure"]:
        paid.append(f"{spent['infrastructure']} paid for by the infrastructure")
    if task["attempt"]:
        yield "attempt", ", ".join([str(task["attempt"]), *paid])
    for past in attempts:
        if task["state"] == "waiting" or past["attempt"] != task["attempt"]:
            end = clean(f"{past['cause']}: {past['evidence']}" if past["evidence"] else str(past["cause"]))
            fault = {"user": "its own fault", "infrastructure": "the infrastructure's fault"}.get(
                past.get("fault") or ""
            )
            where = f"on {past['node']}" if past["node"] else ""
            yield f"attempt {past['attempt']}", f"{end} ({', '.join(filter(None, (where, fault)))})"


def written(amount: int) -> str:
    """The size of a file: bytes are named, for a number alone says nothing."""
    return size(amount) if amount >= 1000 else counted(amount, "byte")


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
    gpus = f", {counted(asked['gpus'], 'GPU')} ({share})" if asked.get("gpus") else ""
    limit = f" (up to {asked['cpu_limit']:g} where the node lends them)" if asked.get("cpu_limit") else ""
    kind = " that others leave idle" if asked.get("reclaimable") else ""
    amounts = (
        f"{counted(asked['cpu'], 'core')}{limit}{kind}, {size(asked['memory'])} memory, {size(asked['disk'])} disk"
    )
    yield "asked for", f"{amounts}, {asked['pids']} processes{gpus}, for {duration(task['timeout_seconds'])} at most"


def _times(task: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("created", "admitted", "started", "finished"):
        if task["times"].get(name):
            yield name, task["times"][name]
    ran = ran_for(task, datetime.now(UTC))
    if ran is not None:
        yield "ran", duration(ran)
