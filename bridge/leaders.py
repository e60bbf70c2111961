"""Builds the parts of the bridge that follow the events: the reporter to the master, the writer of the history."""

from __future__ import annotations

import os
from uuid import uuid4

from hivemind_worker.bootstrap import Stores
from hivemind_worker.delivery.leader import Leader
from hivemind_worker.settings import Settings
from hivemind_worker.store.outbox import Outbox, history_group
from hivemind_worker.store.recorded import Recorded
from hivemind_worker.store.walk import Walk

#: seconds without a sign of life after which another bridge of the site may take the lead
TERM = 15.0


def build_leaders(stores: Stores, settings: Settings) -> list[Leader]:
    """Those that the settings ask for. Connects to nothing."""
    who = f"{os.getpid()}-{uuid4().hex}"
    leaders = []

    def outbox(group: str, *, whole: bool) -> Outbox:
        place = settings.node_id
        return Outbox(stores.redis, stores.keys, group, who=who, place=place, term=TERM, whole=whole)

    if stores.history.kept:
        from hivemind_worker.delivery.recorder import Recorder  # SQLAlchemy, only where it is wanted

        recorder = Recorder(
            jobs=stores.jobs,
            events=stores.events,
            ledger=stores.ledger,
            walk=Walk(stores.redis, stores.keys),
            recorded=Recorded(stores.redis, stores.keys, retention=settings.retention),
            history=stores.history,
            retention=settings.history_retention,
        )
        leaders.append(Leader(outbox(history_group(settings.history, settings.node_id), whole=True), recorder))
    return leaders
