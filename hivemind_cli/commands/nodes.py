"""`hivemind nodes`, `drain`, `resume`: the site's nodes, and whether they take work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from hivemind_cli.outage import patience_option
from hivemind_cli.output import clean, counted, emit_json, note, size, table, until, width
from hivemind_cli.progress import StatusLine
from hivemind_cli.session import Session, command, pass_session

HEAD = ("NODE", "STATE", "CPU", "MEMORY", "DISK", "GPUS", "JOBS", "MACHINE USES")
FIGURES = ("CPU", "MEMORY", "DISK", "GPUS", "JOBS")


@command()
@click.argument("node", required=False, default="")
@pass_session
def nodes(session: Session, node: str) -> None:
    """What the nodes have, lend and use: reserved by jobs / allocatable to them. With NODE, all about that one."""
    from hivemind_cli.node_detail import described

    with session.client() as client:
        found = client.nodes(node)
    if session.json:
        emit_json({"nodes": found})
    elif node:
        print("\n".join(line for each in found for line in described(each, width())))
        print("".join(f"{line}\n" for each in found for line in remarks(each)), end="")
    elif found:
        print("\n".join(table(HEAD, [row(each) for each in found], width(), FIGURES)))
        waiting = found[0]["waiting"]
        if waiting:
            print(f"{counted(waiting, 'job')} waiting in the site; 'hivemind ps --state waiting' says why")
        print("".join(f"{line}\n" for each in found for line in remarks(each)), end="")
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
        f"cpu {usage['cpu_percent']:.0f}%, memory {size(usage['memory_used'])}, load {usage['load_1m']:.1f}",
    )


def remarks(node: dict[str, Any]) -> Iterator[str]:
    """What a table has no room for: why it takes nothing, an operator's caps, devices that take nothing, cores lent
    beyond what there is."""
    name, caps = node["node"], node["caps"] or {}
    if wrong := trouble(node):
        yield f"{name}: {wrong}"
    if node["state"] == "draining":
        yield f"{name}: takes no new jobs; {emptying(node)}"
    words = {"max_cpu": "core", "max_memory": "", "max_gpus": "GPU", "max_tasks": "job"}
    capped = [
        counted(caps[cap], word) if word else f"{size(caps[cap])} memory"
        for cap, word in words.items()
        if caps.get(cap) is not None
    ]
    if capped:
        yield f"{name}: capped to {', '.join(capped)} by an operator"
    yield from (f"{name}: {warning}" for warning in node["warnings"])
    if node["gpu_trouble"]:
        yield f"{name}: {clean(node['gpu_trouble'])}"
    for gpu in node["gpus"]:
        state = clean(gpu["trouble"]) or ("cordoned" if gpu["cordoned"] else "")
        if state:
            on_it = f"{counted(gpu['jobs'], 'job')} on it" if gpu["jobs"] else "no job on it"
            yield f"{name}: GPU {gpu['index']} ({gpu['uuid']}, {clean(gpu['name'])}): {state}; {on_it}"
    if node["cpu_factor"] > 1:
        yield f"{name}: idle cores are lent to reclaimable jobs, {node['cpu_factor']:g} times all cores in all"


def emptying(node: dict[str, Any]) -> str:
    """Until when it has jobs, by their declared ends."""
    if not node["running"]:
        return "no job is left"
    return (
        f"{counted(node['running'], 'job')} left, empty by {until(node['empty_by'], node['heartbeat'])} at the latest"
    )


def trouble(node: dict[str, Any]) -> str:
    """What keeps a node from its work: that it is silent, and since when, or what it says itself; '' for nothing."""
    if node["state"] == "down":
        return f"silent since {node['heartbeat']}" if node["heartbeat"] else "silent"
    return clean(node["trouble"] or "")


@command()
@click.argument("node", required=False, default="")
@click.option("--wait", "wait", is_flag=True, help="Return once no job runs there any more.")
@patience_option
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
