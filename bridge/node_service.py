"""hivemind.v1.NodeControlService: what the node has, and whether it takes work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from bridge.messages import node_message
from bridge.wire.hivemind.v1 import node_pb2
from hivemind_worker.admission.explain import Explainer
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import InvalidField, NotFound
from hivemind_worker.domain.node import NodeState


class NodeControlService:
    """The RPCs. They raise the house's errors; `guard.Guard` turns those into the wire's."""

    def __init__(self, stores: Stores, quick: Executor) -> None:
        self._ledger = stores.ledger
        self._explainer = Explainer(stores.jobs, stores.ledger)
        self._quick = quick

    async def GetNode(self, request: Any, _context: Any) -> Any:
        """One node, or all of the site."""
        views = await self._off_loop(self._explainer.nodes, _name(request))
        return node_pb2.GetNodeResponse(nodes=[node_message(view) for view in views])

    async def Drain(self, request: Any, _context: Any) -> Any:
        """Takes no new work from now on."""
        return await self._off_loop(self._set, _name(request), NodeState.DRAINING)

    async def Resume(self, request: Any, _context: Any) -> Any:
        """Takes work again."""
        return await self._off_loop(self._set, _name(request), NodeState.UP)

    def _set(self, name: str, state: NodeState) -> Any:
        chosen = name or self._only_node()
        self._ledger.set_state(chosen, state)
        return node_message(self._explainer.nodes(chosen)[0])

    def _only_node(self) -> str:
        names = [node.node for node in self._ledger.nodes()]
        if not names:
            raise NotFound("no node has announced itself yet; is its worker up?")
        if len(names) > 1:
            raise InvalidField("node", f"the site has several nodes, name one of {', '.join(names[:10])}")
        return names[0]

    async def _off_loop(self, call: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._quick, call, *args)


def _name(request: Any) -> str:
    name = str(request.node)
    if len(name) > 64 or not name.isprintable():
        raise InvalidField("node", "is not the name of a node: at most 64 printable characters")
    return name
