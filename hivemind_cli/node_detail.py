"""All about one node, for a person: its resources, its devices and who is on them, and how it behaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from hivemind_cli.output import STATE_COLOURS, clean, counted, size, styled, table, until

HEAD = ("RESOURCE", "RESERVED", "FREE", "ALLOCATABLE", "CAP", "FOR THE SYSTEM", "MACHINE HAS", "IN USE NOW")
GPU_HEAD = ("GPU", "STATE", "HELD", "LENDABLE", "SPEED", "MODEL", "UUID", "JOBS")
PARTITION = {"keep": "its containers go on", "stop": "it stops its containers"}
DURABILITY = {"always": "a power cut", "everysec": "a crash; a power cut but for the last second or two"}


def plain(value: float) -> str:
    """A count, or cores."""
    return f"{value:.10g}"


#: what it is called, its name in the amounts, how it reads, its cap
ROWS: tuple[tuple[str, str, Callable[[float], str], str], ...] = (
    ("cores", "cpu", plain, "max_cpu"),
    ("reclaimable cores", "spare_cpu", plain, ""),
    ("memory", "memory", size, "max_memory"),
    ("disk", "disk", size, ""),
    ("processes", "pids", plain, ""),
    ("jobs at a time", "slots", plain, "max_tasks"),
    ("GPUs", "gpus", plain, "max_gpus"),
)


def described(node: dict[str, Any], columns: int | None) -> Iterator[str]:
    """The node as lines."""
    yield f"{node['node']}: {styled(node['state'], STATE_COLOURS.get(node['state']))}"
    yield ""
    yield from table(HEAD, list(_resources(node)), columns, HEAD[1:])
    if node["gpus"]:
        yield ""
        yield from table(GPU_HEAD, [_gpu(gpu) for gpu in node["gpus"]], columns, ("GPU", "HELD", "LENDABLE", "SPEED"))
    yield ""
    for name, value in _facts(node):
        yield f"{name + ':':<26} {value}"


def _resources(node: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    usage = node["usage"]
    used = {
        "cpu": f"{usage['cpu_percent']:.0f}%", "memory": size(usage["memory_used"]), "disk": size(usage["disk_used"])
    }  # fmt: skip
    for word, name, shown, cap in ROWS:
        held, lends, kept = node["reserved"][name], node["allocatable"][name], node["reserved_for_system"][name]
        chosen = (node["caps"] or {}).get(cap)
        yield (
            word,
            shown(held),
            shown(max(0, lends - held)),
            shown(lends),
            "-" if chosen is None else shown(chosen),
            shown(kept) if kept else "-",
            "-" if name == "spare_cpu" else shown(node["capacity"][name]),
            used.get(name, "-"),
        )


def _gpu(gpu: dict[str, Any]) -> tuple[str, ...]:
    state = "ill" if gpu["trouble"] else "cordoned" if gpu["cordoned"] else "takes jobs"
    on_it = [
        f"{holder['task_id']} ({'whole' if holder['whole'] else size(holder['memory'])})" for holder in gpu["holders"]
    ]
    return (
        str(gpu["index"]),
        state,
        size(gpu["held"]),
        size(gpu["lendable"]),
        f"{gpu['score']:.0f}" if gpu["score"] else "-",
        gpu["name"],
        gpu["uuid"],
        ", ".join(on_it) or "-",
    )


def _facts(node: dict[str, Any]) -> Iterator[tuple[str, str]]:
    known = node["empty_by"] and node["state"] != "down"
    by = f", until {until(node['empty_by'], node['heartbeat'])}" if known else ""
    yield "holds", counted(node["running"], "job") + by
    yield "waiting in the site", counted(node["waiting"], "job")
    yield "workers", clean(", ".join(node["workers"])) or "none"
    yield "last heard of", node["heartbeat"] or "never"
    yield "version", clean(node["version"])
    usage = node["usage"]
    yield "load", f"{usage['load_1m']:.1f} in the last minute, {usage['cpu_pressure']:.0f}% of the time some task waits"
    yield "cores lent", f"{node['cpu_factor']:g} times what there is"
    if node["cpu_score"]:
        yield "speed of a core", f"{node['cpu_score']:.0f} (100 is the reference)"
    if node["on_partition"]:
        yield "cut off from Redis for long", PARTITION.get(node["on_partition"], clean(node["on_partition"]))
    if node["durability"]:
        yield "acknowledged jobs survive", DURABILITY.get(node["durability"], clean(node["durability"]))
