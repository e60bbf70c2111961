"""Every Redis key and channel, each a function of the namespace. The braces keep a site in one cluster slot."""

from __future__ import annotations

from dataclasses import dataclass

#: Celery's queue for jobs sent by a plain client; such a message becomes intake
INTAKE_QUEUE = "celery"
#: the name of Celery's task that runs an attempt
TASK = "hivemind.run_job"


@dataclass(frozen=True, slots=True)
class Keys:
    """All names under one namespace (a *site*: the nodes that share one waiting line)."""

    namespace: str

    def _key(self, *parts: str) -> str:
        return f"{{{self.namespace}}}:" + ":".join(parts)

    def job(self, task_id: str) -> str:
        """Hash: the job record."""
        return self._key("job", task_id)

    def secrets(self, task_id: str) -> str:
        """String: the job's secrets, sealed; gone when the job ends."""
        return self._key("secrets", task_id)

    def log(self, task_id: str) -> str:
        """Stream: numbered log chunks, ids `<number>-0`."""
        return self._key("log", task_id)

    def waiting(self, line: str) -> str:
        """Sorted set: ids of the waiting jobs of one line (Assignment.line), next first."""
        return self._key("waiting", line)

    @property
    def waiting_all(self) -> str:
        """Sorted set: ids of all waiting jobs, next first."""
        return self._key("waiting")

    def waiting_of(self, owner: str) -> str:
        """Sorted set: ids of one owner's waiting jobs, next first. `_lib.lua` builds the same name."""
        return self._key("waiting") + f"/{owner}"

    @property
    def owners(self) -> str:
        """Set: owners that have waiting jobs. `_lib.lua` builds the same name."""
        return self._key("owners")

    def rate(self, owner: str) -> str:
        """Hash with an expiry: how many assignments the owner may still send just now."""
        return self._key("rate", owner)

    @property
    def shapes(self) -> str:
        """Set: names of the lines that have waiting jobs. They begin with the shape of their jobs."""
        return self._key("shapes")

    @property
    def delayed(self) -> str:
        """Sorted set: ids of waiting jobs that may not start yet, by when they may (epoch ms)."""
        return self._key("delayed")

    @property
    def active(self) -> str:
        """Sorted set: ids of jobs that have not ended, by creation."""
        return self._key("active")

    @property
    def index(self) -> str:
        """Sorted set: ids of all jobs still kept, by creation."""
        return self._key("index")

    @property
    def events(self) -> str:
        """Stream: every state change."""
        return self._key("events")

    def outbox(self, group: str) -> str:
        """Hash: how far one follower of the events has come, and what troubles it."""
        return self._key("outbox", group)

    def outbox_lead(self, group: str) -> str:
        """String with an expiry: which process follows the events for this group now."""
        return self._key("outbox", group, "lead")

    def set_aside(self, group: str) -> str:
        """Stream: events that this group could not use, each with the reason; the newest thousand."""
        return self._key("outbox", group, "aside")

    @property
    def nodes(self) -> str:
        """Set: names of the site's nodes."""
        return self._key("nodes")

    def node(self, node: str) -> str:
        """Hash: one node's capacity, state and heartbeat."""
        return self._key("node", node)

    def reservations(self, node: str) -> str:
        """Hash: task_id → row. What is reserved is the sum of these."""
        return self._key("reservations", node)

    def boot(self, boot: str) -> str:
        """String with an expiry: when this boot last took a job up (epoch ms)."""
        return self._key("boot", boot)

    @property
    def sweeper(self) -> str:
        """String with an expiry: the worker that sweeps the site's records now."""
        return self._key("sweeper")

    @property
    def quarantine(self) -> str:
        """Sorted set: names of what was put aside because it could not be read, by when."""
        return self._key("quarantine")

    @property
    def quarantined_rows(self) -> str:
        """Hash: `node/task_id` → rows that could not be read."""
        return self._key("quarantine", "rows")

    @property
    def quarantined_chunks(self) -> str:
        """Hash: `task_id/number` → log chunks that could not be read."""
        return self._key("quarantine", "chunks")

    @property
    def prefix(self) -> str:
        """What every key begins with."""
        return self._key("")

    def aside(self, key: str) -> str:
        """Where a damaged key is kept."""
        return self._key("quarantine", "key", key)

    @property
    def runs(self) -> str:
        """Hash: how long the last runs took, ms, by kind of job and by kind and shape."""
        return self._key("runs")

    @property
    def runs_used(self) -> str:
        """Sorted set: fields of `runs`, by when they were written: the oldest go first."""
        return self._key("runs", "used")

    @property
    def promise(self) -> str:
        """String: the reservation of the head of the line, as JSON; absent when nobody waits for room."""
        return self._key("promise")

    @property
    def usage(self) -> str:
        """String: what each owner has held, summed over time, as JSON; absent where owners have no weights."""
        return self._key("usage")

    def lease(self, node: str, worker: str) -> str:
        """String with an expiry: this worker lives."""
        return self._key("lease", node, worker)

    @property
    def site(self) -> str:
        """String: the random id of this site; labels our containers."""
        return self._key("site")

    @property
    def wake(self) -> str:
        """Channel: admission should look again. Pub/sub ignores the database number, so the name carries all."""
        return self._key("wake")

    def control(self, node: str) -> str:
        """Channel: task ids whose stop was asked for, to the workers of one node."""
        return self._key("control", node)

    @property
    def changes_prefix(self) -> str:
        """Prefix of the per-job channels."""
        return self._key("changes", "")

    def changes(self, task_id: str) -> str:
        """Channel: something about this job changed ('state' or 'log')."""
        return self.changes_prefix + task_id
