"""Builds the parts of the bridge that follow the events: the reporter to the master, the writer of the history."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from uuid import uuid4

from bridge.reporter import Reporter
from bridge.resync import Resyncer
from hivemind_worker.bootstrap import Stores
from hivemind_worker.delivery.leader import Leader
from hivemind_worker.settings import Settings
from hivemind_worker.store.outbox import REPORTS, Outbox, history_group
from hivemind_worker.store.recorded import Recorded
from hivemind_worker.store.walk import Walk

if TYPE_CHECKING:
    from hivemind_worker.delivery.recorder import Recorder

#: seconds without a sign of life after which another bridge of the site may take the lead
TERM = 15.0


def build_leaders(stores: Stores, settings: Settings) -> list[Leader]:
    """Those that the settings ask for. Connects to nothing."""
    who = f"{os.getpid()}-{uuid4().hex}"
    leaders: list[Leader] = []

    def outbox(group: str, *, whole: bool) -> Outbox:
        place = settings.node_id
        return Outbox(stores.redis, stores.keys, group, who=who, place=place, term=TERM, whole=whole)

    if stores.history.kept:
        recorder = build_recorder(stores, settings)
        leaders.append(Leader(outbox(history_group(settings.history, settings.node_id), whole=True), recorder))
    if settings.master_address:
        from bridge.master_link import MasterLink

        link = MasterLink(
            settings.master_address,
            site=stores.ledger.site_id,
            node=settings.node_id,
            artifacts=stores.artifacts,
        )
        resyncer = Resyncer(stores.jobs, Walk(stores.redis, stores.keys), stores.history)
        reporter = Reporter(stores, resyncer, link, node=settings.node_id)
        # A master that a node joins today is told what changes from now on, and what the stream still holds.
        leaders.append(Leader(outbox(REPORTS, whole=False), reporter))
    return leaders


def build_recorder(stores: Stores, settings: Settings) -> Recorder:
    """The writer of the history."""
    from hivemind_worker.delivery.recorder import Recorder  # SQLAlchemy, only where it is wanted

    return Recorder(
        jobs=stores.jobs,
        events=stores.events,
        ledger=stores.ledger,
        walk=Walk(stores.redis, stores.keys),
        recorded=Recorded(stores.redis, stores.keys, retention=settings.retention),
        history=stores.history,
        retention=settings.history_retention,
    )
