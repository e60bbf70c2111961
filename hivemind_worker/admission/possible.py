"""What a node could ever hold: as it is set up, idle and empty, whatever it lends just now. Pure.

Intake refuses what no node could; the plan says of what waits whether it is worth waiting for. Both ask here.
"""

from __future__ import annotations

from collections.abc import Sequence

from hivemind_worker.admission.devices import out_of_service
from hivemind_worker.domain.errors import NeverFits
from hivemind_worker.domain.node import Node
from hivemind_worker.domain.resources import Amount, Request, describe, format_size


def never_fits(request: Request, nodes: Sequence[Node], home: str = "") -> NeverFits | None:
    """Why none of the nodes could ever hold the request; None when one could, or when none is known yet. Pure.

    What a node lends less of for now, because its cores are busy or an operator said so, is worth waiting for.
    `home`: the one node that these are, because the job's bundle or secrets lie there.
    """
    if not nodes:
        return None
    if any(could_ever_hold(request, node) for node in nodes):
        return None
    wanted = _additive(request)
    best = min((node.ever.lacks(wanted) for node in nodes), key=len)
    if not best or (request.gpus and not any(devices_possible(request, node) for node in nodes)):
        return NeverFits(_no_devices(request, nodes))
    who = f"node {home}, where its bundle or secrets are," if home else "a node"
    name, _ = max(best.items(), key=lambda item: _relative(item, wanted))
    most = max(getattr(node.ever, name) for node in nodes)
    asked = getattr(wanted, name)
    field = "cpu" if name in ("millicores", "spare") else name
    return NeverFits(
        f"requests.{field}: asked for {describe(name, asked)}, but the most {who} can allocate is "
        f"{describe(name, most)}; ask for less or let its settings allow more"
    )


def could_ever_hold(request: Request, node: Node) -> bool:
    """Whether the node, empty and idle, could hold the request as its settings are; an operator's caps pass. Pure."""
    return node.ever.covers(_additive(request)) and devices_possible(request, node)


def _additive(request: Request) -> Amount:
    """All of it but its devices."""
    return Amount.of(request).model_copy(update={"gpus": 0})


def devices_possible(request: Request, node: Node) -> bool:
    """Whether the node's devices, with nobody on them, could hold the request. A cordon passes, a fault may not."""
    return lendable_devices(request, node) >= request.gpus


def lendable_devices(request: Request, node: Node) -> int:
    """How many of the node's devices, within its settings' cap, are well and large enough.

    Cordoned ones count, and what an operator caps while it runs does not: both pass.
    """
    return min(node.ever.gpus, sum(1 for gpu in node.gpus if not gpu.trouble and gpu.lendable >= request.gpu_memory))


def _no_devices(request: Request, nodes: Sequence[Node]) -> str:
    """Which devices are asked for, what there is, and what is wrong with the rest."""
    most = max(lendable_devices(request, node) for node in nodes)
    asked, size = describe("gpus", request.gpus), f" of {format_size(request.gpu_memory)}" if request.gpu_memory else ""
    field = "gpus"
    if request.gpu_memory and any(
        lendable_devices(request.model_copy(update={"gpu_memory": 0}), node) >= request.gpus for node in nodes
    ):
        field = "gpu_memory"
        largest = max((gpu.lendable for node in nodes for gpu in node.gpus if not gpu.trouble), default=0)
        size += f" each (the largest device lends {format_size(largest)})"
    ill = out_of_service(nodes, cordons=False)
    return f"requests.{field}: asked for {asked}{size}, but the most a node can lend is {most}{ill}"


def _relative(item: tuple[str, int], wanted: Amount) -> float:
    return item[1] / max(1, int(getattr(wanted, item[0])))
