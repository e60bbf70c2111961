"""The composition root for whatever is kept: the only place that builds store clients. agent.py builds the worker."""

from __future__ import annotations

from dataclasses import dataclass

import redis

from hivemind_worker.domain.limits import OwnerLimits
from hivemind_worker.settings import Settings
from hivemind_worker.store.audit import Audit
from hivemind_worker.store.blobs import BlobStore
from hivemind_worker.store.catalogue import Catalogue
from hivemind_worker.store.connection import connect
from hivemind_worker.store.events import Events
from hivemind_worker.store.history import History
from hivemind_worker.store.jobs import JobStore
from hivemind_worker.store.keys import Keys
from hivemind_worker.store.ledger import Ledger
from hivemind_worker.store.logs import LogStore
from hivemind_worker.store.seal import Sealer
from hivemind_worker.store.staging import Staging


@dataclass(frozen=True)
class Stores:
    """Everything that is kept, behind one set of connections. Threads may share it."""

    redis: redis.Redis
    keys: Keys
    jobs: JobStore
    audit: Audit
    ledger: Ledger
    events: Events
    logs: LogStore
    bundles: BlobStore
    artifacts: BlobStore
    staging: Staging
    history: History
    catalogue: Catalogue

    def close(self) -> None:
        """Give the connections back."""
        self.history.close()
        self.redis.close()
        self.staging.close()


def open_stores(settings: Settings) -> Stores:
    """Build the stores. Connects to Redis only at the first call; makes the node's directories."""
    settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    client, keys = connect(settings.redis), Keys(settings.namespace)
    sealer = Sealer.from_file(settings.state / "secret.key")
    blobs, staging = settings.state / "blobs", Staging(settings.state / "tmp")
    limits = OwnerLimits(
        waiting=settings.max_waiting_per_owner,
        running=settings.max_running_per_owner,
        rate=settings.owner_rate,
        burst=settings.owner_burst,
    )
    kept, unrecorded = max(1, int(settings.retention)), settings.history_patience if settings.history else 0.0
    jobs = JobStore(
        client,
        keys,
        sealer,
        ageing=settings.ageing,
        max_waiting=settings.max_waiting,
        retention=settings.retention,
        unrecorded=unrecorded,
        flush=settings.durability == "always",
        limits=limits,
    )
    artifacts = BlobStore((blobs / "artifacts").as_uri(), staging.folder)
    history = History(settings.history, settings.namespace)
    return Stores(
        redis=client,
        keys=keys,
        jobs=jobs,
        audit=Audit(
            client,
            keys,
            log_retention=kept,
            record_retention=kept + int(unrecorded),
            starting=settings.job_overhead,
            ending=settings.ending_allowance,
        ),
        ledger=Ledger(client, keys, heartbeat_timeout=settings.heartbeat_timeout, max_running_per_owner=limits.running),
        events=Events(client, keys),
        logs=LogStore(client, keys),
        bundles=BlobStore((blobs / "bundles").as_uri(), staging.folder),
        artifacts=artifacts,
        staging=staging,
        history=history,
        catalogue=Catalogue(jobs, history, artifacts),
    )
