"""What every route needs: the settings, the stores, the hub; one of each per process."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from hivemind_worker.admission.explain import Explainer
from hivemind_worker.admission.rules import Rules
from hivemind_worker.bootstrap import Stores
from hivemind_worker.monitor.feed import Feed
from hivemind_worker.monitor.health import Health
from hivemind_worker.monitor.hub import Hub
from hivemind_worker.monitor.metrics import Metrics
from hivemind_worker.monitor.outboxes import Outboxes
from hivemind_worker.settings import Settings


@dataclass(frozen=True)
class Monitor:
    """The parts of one monitor."""

    settings: Settings
    stores: Stores
    explainer: Explainer
    hub: Hub
    feed: Feed
    health: Health
    metrics: Metrics

    @classmethod
    def build(cls, settings: Settings, stores: Stores) -> Monitor:
        """Wire the parts, in the event loop they will serve. Connects to nothing."""
        loop, wanted = asyncio.get_running_loop(), threading.Event()
        explainer = Explainer(stores.jobs, stores.ledger, Rules.of(settings))
        hub = Hub(wanted.set)
        return cls(
            settings=settings,
            stores=stores,
            explainer=explainer,
            hub=hub,
            feed=Feed(stores, explainer, hub, wanted, loop.call_soon_threadsafe),
            health=Health(settings, stores),
            metrics=Metrics(stores, explainer, Outboxes(settings, stores)),
        )


async def _monitor(request: Request) -> Monitor:
    monitor: Monitor = request.app.state.monitor
    return monitor


#: a route's parameter of this type is the process's monitor
TheMonitor = Annotated[Monitor, Depends(_monitor)]
