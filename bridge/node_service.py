"""hivemind.v1.NodeControlService: what the node has, and whether it takes work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any

from bridge.messages import node_message
from bridge.wire.hivemind.v1 import node_pb2
from hivemind_worker.admission.explain import Explainer
from hivemind_worker.admission.maintenance import cordon, set_caps
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

    async def SetNode(self, request: Any, _context: Any) -> Any:
        """Other caps from now on."""
        caps = {field.name: value for field, value in request.caps.ListFields()}
        return await self._off_loop(
            self._change, _name(request), lambda node: set_caps(self._ledger, node, caps, tuple(request.clear))
        )

    async def CordonGpu(self, request: Any, _context: Any) -> Any:
        """No new jobs on a device from now on."""
        return await self._cordon(request, on=True)

    async def UncordonGpu(self, request: Any, _context: Any) -> Any:
        """New jobs on it again."""
        return await self._cordon(request, on=False)

    async def _cordon(self, request: Any, *, on: bool) -> Any:
        gpu = str(request.gpu)
        return await self._off_loop(self._change, _name(request), lambda node: cordon(self._ledger, node, gpu, on=on))

    def _set(self, name: str, state: NodeState) -> Any:
        return self._change(name, lambda node: self._ledger.set_state(node, state))

    def _change(self, name: str, change: Callable[[str], None]) -> Any:
        chosen = name or self._only_node()
        change(chosen)
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
