"""Is a service of the plan ready? The probe that its entry names, asked once."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from hivemind_cli.probes import NotReady, grpc_serving, http_get, http_json, http_ok, redis_ping


def check(probe: dict[str, Any], started: float) -> None:
    """Raises NotReady. `started`: when the process began, in seconds since the epoch."""
    kind = probe["kind"]
    if kind == "redis":
        redis_ping(probe["at"])
    elif kind == "grpc":
        grpc_serving(tuple(probe["at"]))
    elif kind == "http" and "path" in probe:
        http_ok(tuple(probe["at"]), probe["path"])
    elif kind == "http":
        # 503 says that something else is not well; the service itself answers.
        status, _ = http_get(tuple(probe["at"]), "/health")
        if status not in (200, 503):
            raise NotReady(f"/health answered {status}")
    elif kind == "worker":
        since = started if time.time() >= started else 0.0  # the clock was set back meanwhile
        worker_announced(http_json(tuple(probe["at"]), "/api/nodes"), probe, since)
    else:
        raise ValueError(f"there is no probe {kind!r}")


def remarks(probe: dict[str, Any]) -> list[str]:
    """What is odd about the node whose worker this probe is of, as the node itself says. [] where nobody answers."""
    try:
        document = http_json(tuple(probe["at"]), "/api/nodes")
        own = [node for node in document["nodes"] if node["node"] == probe["node"]]
        found = [line for node in own for line in (*node["warnings"], node["gpu_trouble"]) if line]
    except (NotReady, KeyError, TypeError):
        return []
    return ["".join(sign if sign.isprintable() else "?" for sign in line) for line in found]


def worker_announced(document: Any, probe: dict[str, Any], started: float) -> None:
    """The node's row must name the worker, and be newer than its process: an old lease outlives a killed one."""
    nodes = document.get("nodes", []) if isinstance(document, dict) else []
    node = next((node for node in nodes if node.get("node") == probe["node"]), None)
    if node is None or node["state"] == "down" or probe["worker"] not in node["workers"]:
        raise NotReady("the worker has not announced itself")
    if probe["same_clock"] and datetime.fromisoformat(node["heartbeat"]).timestamp() < started:
        raise NotReady("the node's last heartbeat is from before")
