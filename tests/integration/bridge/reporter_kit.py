"""A reporter for tests, and what it had to tell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bridge.master_link import MasterLink
from bridge.reporter import Reporter
from bridge.resync import Resyncer
from hivemind_worker.bootstrap import Stores
from hivemind_worker.delivery.leader import Leader
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.store.outbox import REPORTS, Outbox
from hivemind_worker.store.outbox_status import OutboxStatus, read_status
from hivemind_worker.store.walk import Walk
from tests.master import Master
from tests.processes import eventually
from tests.site import Site

#: the states of a job that goes well
WHOLE = ["waiting", "admitted", "preparing", "running", "collecting", "completed"]


@contextmanager
def reporting(stores: Stores, master: Master, who: str = "p1", place: str = "n1", term: float = 15) -> Iterator[Leader]:
    """A reporter at work in a thread of the test, as impatient as a test."""
    link = MasterLink(
        f"127.0.0.1:{master.port}", site=stores.ledger.site_id, node=place, artifacts=stores.artifacts, deadline=5.0
    )
    resyncer = Resyncer(stores.jobs, Walk(stores.redis, stores.keys), stores.history)
    reporter = Reporter(stores, resyncer, link, node=place, first=0.02)
    leader = Leader(Outbox(stores.redis, stores.keys, REPORTS, who=who, place=place, term=term, whole=False), reporter)
    leader.start()
    try:
        yield leader
    finally:
        leader.stop(30)


def status(stores: Stores) -> OutboxStatus:
    """How it fares, as /health sees it."""
    return read_status(stores.redis, stores.keys, REPORTS)


def settled(stores: Stores) -> None:
    """Wait until nothing is left to report."""
    eventually(lambda: status(stores).led and status(stores).lag_entries == 0 and not status(stores).resyncing)


def run(stores: Stores, *ids: str, cause: Cause = Cause.OK) -> None:
    """Jobs from their arrival to their end."""
    site = Site(stores)
    site.announce()
    for task_id in ids:
        site.end(site.start(task_id), cause)


def end_told(master: Master, task_id: str) -> bool:
    """Whether the master has a job's end. A resync that meets the job on its way leaves out states before."""
    told = master.last(task_id)
    return told is not None and told.state == "completed"
