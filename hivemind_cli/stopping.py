"""The end of a node: its jobs, if asked, then its supervisor, which ends the rest in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hivemind_cli import processes
from hivemind_cli.following import until_ended
from hivemind_cli.progress import StatusLine

if TYPE_CHECKING:
    from bridge.client import Client

#: seconds: the sum of the graces of all stages, and some
PATIENCE = 45.0


def stop_node(document: dict[str, Any]) -> None:
    """Tell the supervisor of node.json to leave, and wait until it has. Jobs go on."""
    processes.end(document["pid"], document["identity"], patience=PATIENCE)


def stop_jobs(client: Client, grace: float | None, line: StatusLine) -> int:
    """Stop every job that has not ended, those that arrive meanwhile too; how many. Raises CallError."""
    stopped: set[str] = set()
    while active := _active(client):
        for task_id in active:
            client.cancel(task_id, grace)
        stopped.update(active)
        for number, task_id in enumerate(active):
            line.show(f"stopping jobs: {number} of {len(active)} have ended", now=True)
            until_ended(client, task_id)
    return len(stopped)


def _active(client: Client) -> list[str]:
    page = client.list(state="", owner="", limit=1000, cursor="", active_only=True)
    return [task["task_id"] for task in page["tasks"]]
