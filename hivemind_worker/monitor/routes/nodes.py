"""Nodes: what they have and lend, drain and resume."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path
from fastapi.responses import JSONResponse

from hivemind_worker.admission.maintenance import cordon, set_caps
from hivemind_worker.domain.node import NodeState
from hivemind_worker.monitor.context import Monitor, TheMonitor
from hivemind_worker.monitor.routes.answers import answers
from hivemind_worker.monitor.schemas import Caps, Nodes, NodeView, Resources, StatusView
from hivemind_worker.version import __version__

router = APIRouter(tags=["nodes"])

NodeId = Annotated[str, Path(max_length=64)]
AMOUNTS = ("capacity", "allocatable", "reserved")


@router.get("/api/status", responses=answers(StatusView))
def status(monitor: TheMonitor) -> JSONResponse:
    """The node and its site at a glance."""
    name, nodes, counts = monitor.settings.node_id, monitor.explainer.nodes(), monitor.stores.jobs.counts()
    own = next((node for node in nodes if node["node"] == name), None)
    return JSONResponse(
        {
            "node": name,
            "state": own["state"] if own else NodeState.DOWN.value,
            "version": __version__,
            "waiting": counts["waiting"],
            "running": sum(node["running"] for node in nodes),
            "active": counts["active"],
            "known": counts["known"],
            "nodes": len(nodes),
        }
    )


@router.get("/api/resources", responses=answers(Resources))
def resources(monitor: TheMonitor) -> JSONResponse:
    """What the site has, lends, has reserved and uses."""
    nodes = monitor.explainer.nodes()
    return JSONResponse({**summed([n for n in nodes if n["state"] != NodeState.DOWN.value]), "nodes": nodes})


@router.get("/api/nodes", responses=answers(Nodes))
def list_nodes(monitor: TheMonitor) -> JSONResponse:
    """All nodes of the site."""
    return JSONResponse({"nodes": monitor.explainer.nodes()})


@router.post("/api/nodes/{node}/drain", responses=answers(NodeView, 403, 404))
def drain(monitor: TheMonitor, node: NodeId) -> JSONResponse:
    """Admit nothing more on this node; what runs goes on."""
    return JSONResponse(_set_state(monitor, node, NodeState.DRAINING))


@router.post("/api/nodes/{node}/resume", responses=answers(NodeView, 403, 404))
def resume(monitor: TheMonitor, node: NodeId) -> JSONResponse:
    """Take work again."""
    return JSONResponse(_set_state(monitor, node, NodeState.UP))


@router.post("/api/nodes/{node}/caps", responses=answers(NodeView, 400, 403, 404))
def caps(monitor: TheMonitor, node: NodeId, body: Annotated[Caps, Body()]) -> JSONResponse:
    """Change caps while the node runs: a number sets one, null takes it away, what is left out stays."""
    given = body.model_dump(exclude_unset=True)
    chosen = {name: value for name, value in given.items() if value is not None}
    set_caps(monitor.stores.ledger, node, chosen, [name for name in given if name not in chosen])
    return JSONResponse(monitor.explainer.nodes(node)[0])


@router.post("/api/nodes/{node}/gpus/{gpu}/cordon", responses=answers(NodeView, 400, 403, 404))
def cordon_gpu(monitor: TheMonitor, node: NodeId, gpu: str) -> JSONResponse:
    """Keep new jobs off a device, named by UUID or number; what runs on it goes on."""
    cordon(monitor.stores.ledger, node, gpu, on=True)
    return JSONResponse(monitor.explainer.nodes(node)[0])


@router.post("/api/nodes/{node}/gpus/{gpu}/uncordon", responses=answers(NodeView, 400, 403, 404))
def uncordon_gpu(monitor: TheMonitor, node: NodeId, gpu: str) -> JSONResponse:
    """Let new jobs on it again."""
    cordon(monitor.stores.ledger, node, gpu, on=False)
    return JSONResponse(monitor.explainer.nodes(node)[0])


def _set_state(monitor: Monitor, node: str, state: NodeState) -> dict[str, Any]:
    monitor.stores.ledger.set_state(node, state)
    return monitor.explainer.nodes(node)[0]


def summed(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """The site's sums. Pure. CPU in use is a mean, weighted by cores."""
    names = ("cpu", "memory", "gpus", "disk", "pids", "slots", "spare_cpu")
    sums: dict[str, Any] = {
        field: {name: sum(node[field][name] for node in nodes) for name in names} for field in AMOUNTS
    }
    sums["free"] = {name: max(0, sums["allocatable"][name] - sums["reserved"][name]) for name in names}
    cores = sums["capacity"]["cpu"] or 1
    busy = sum(node["usage"]["cpu_percent"] * node["capacity"]["cpu"] for node in nodes)
    rest = {field: sum(node["usage"][field] for node in nodes) for field in ("memory_used", "disk_used", "load_1m")}
    rest["cpu_pressure"] = max((node["usage"]["cpu_pressure"] for node in nodes), default=0.0)
    return {**sums, "usage": {"cpu_percent": round(busy / cores, 1), **rest}}
