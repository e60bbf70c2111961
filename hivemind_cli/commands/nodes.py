"""`hivemind nodes`, `drain`, `resume`: the site's nodes, and whether they take work."""

from __future__ import annotations

from typing import Any

import click

from hivemind_cli.output import emit_json, note, size, table, width
from hivemind_cli.progress import StatusLine
from hivemind_cli.session import Session, command, pass_session

HEAD = ("NODE", "STATE", "CPU", "MEMORY", "DISK", "GPUS", "RUNNING", "WAITING", "MACHINE")


@command()
@pass_session
def nodes(session: Session) -> None:
    """What the nodes have, lend and use. CPU, MEMORY, DISK and GPUS read: reserved / allocatable."""
    with session.client() as client:
        found = client.nodes("")
    if session.json:
        emit_json({"nodes": found})
    elif found:
        print("\n".join(table(HEAD, [row(node) for node in found], width())))
    else:
        note("no node has announced itself yet")


def row(node: dict[str, Any]) -> tuple[str, ...]:
    """One node's cells."""
    held, lends, usage = node["reserved"], node["allocatable"], node["usage"]
    return (
        node["node"],
        node["state"],
        f"{held['cpu']:g}/{lends['cpu']:g}",
        f"{size(held['memory'])}/{size(lends['memory'])}",
        f"{size(held['disk'])}/{size(lends['disk'])}",
        f"{held['gpus']}/{lends['gpus']}",
        f"{node['running']}/{lends['slots']}",
        str(node["waiting"]),
        f"cpu {usage['cpu_percent']:.0f}%, memory {size(usage['memory_used'])}, load {usage['load_1m']:.1f}",
    )


@command()
@click.argument("node", required=False, default="")
@click.option("--wait", "wait", is_flag=True, help="Return once no job runs there any more.")
@pass_session
def drain(session: Session, node: str, wait: bool) -> None:
    """Take no new jobs on NODE (or on the only node there is); what runs goes on.

    Says how many jobs are left and when the last of them will have ended at the latest. With --wait, Ctrl-C ends the
    waiting only: the node takes nothing until 'hivemind resume'.
    """
    from hivemind_cli.draining import look, until_empty

    with session.client() as client:
        drained = client.drain(node)
        name = drained["node"]
        now = look(client, name)
        waited = 0.0
        if wait and now.jobs:
            with StatusLine() as line:
                waited = until_empty(client, name, line)
            drained, now = client.nodes(name)[0], look(client, name)
    if session.json:
        facts = {"held": now.jobs, "eta_seconds": now.seconds, "drained": not now.jobs, "waited_seconds": waited}
        emit_json({**drained, **facts})
    else:
        note(f"{name} is {drained['state']}: {now}")


@command()
@click.argument("node", required=False, default="")
@pass_session
def resume(session: Session, node: str) -> None:
    """Take jobs again on NODE (or on the only node there is)."""
    with session.client() as client:
        _told(session, client.resume(node))


def _told(session: Session, node: dict[str, Any]) -> None:
    if session.json:
        emit_json(node)
    else:
        note(f"{node['node']} is {node['state']}")
