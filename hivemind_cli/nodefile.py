"""`<state>/node.json`: where a running node is reached and which processes are its own. Readable by its user alone."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from hivemind_cli import processes
from hivemind_cli.plan import Plan

NAME = "node.json"


def write(state: Path, document: dict[str, Any]) -> None:
    """Replace it at once: a reader sees the old one or the new one. Raises OSError, and then the old one stays."""
    fresh = state / f".{NAME}.{os.getpid()}"
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
        fresh.replace(state / NAME)
    except OSError:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise


def read(state: Path) -> dict[str, Any] | None:
    """What the last node of this state wrote; None when it left in order, or there never was one."""
    try:
        document = json.loads((state / NAME).read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        return None  # a disk that was full at the wrong moment; the lock still keeps two nodes apart
    return document if isinstance(document, dict) else None


def remove(state: Path) -> None:
    """The node has left in order."""
    (state / NAME).unlink(missing_ok=True)


def remove_unfinished(state: Path) -> None:
    """What a supervisor that was killed while it wrote left beside it. With the state's lock held."""
    for path in state.glob(f".{NAME}.*"):
        with suppress(OSError):
            path.unlink()


def runs(document: dict[str, Any] | None) -> bool:
    """Whether the supervisor that wrote it still lives."""
    return document is not None and processes.is_alive(document["pid"], document["identity"])


def end_leftovers(document: dict[str, Any], patience: float) -> list[str]:
    """End services whose supervisor was killed; their names. The kernel told them to leave when it died."""
    ended = []
    for service in reversed(document.get("services", [])):
        if service.get("pid") and processes.end(service["pid"], service["identity"], patience=patience):
            ended.append(service["name"])
    return ended


def describe(plan: Plan, identity: str, services: list[dict[str, Any]]) -> dict[str, Any]:
    """The document of the supervisor that calls this, `identity` being its own."""
    doors = {door.service: door.address for door in plan.doors}
    return {
        "node": plan.node,
        "version": plan.version,
        "pid": os.getpid(),
        "identity": identity,
        "state": plan.state,
        "logs": f"{plan.state}/logs",
        "redis": plan.redis,
        "bridge": doors["bridge"],
        "api": f"http://{doors['api']}",
        "dashboard": f"http://{doors['api']}/dashboard",
        "flower": f"http://{doors['flower']}" if "flower" in doors else None,
        "services": services,
    }
