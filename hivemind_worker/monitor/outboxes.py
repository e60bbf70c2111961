"""What /health and /metrics say about those who follow the events: the history's writer, the reporter to the master."""

from __future__ import annotations

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from hivemind_worker.bootstrap import Stores
from hivemind_worker.settings import Settings
from hivemind_worker.store.outbox import REPORTS, history_group
from hivemind_worker.store.outbox_status import OutboxStatus, read_status

#: entries behind which a follower that says nothing is wrong counts as late all the same: half of what the stream holds
LATE = 100_000
#: seconds after which a far side that was asked and says nothing counts as one that hangs
PATIENCE = 5.0


class Outboxes:
    """The groups that this node's settings ask for. Calls may raise StoreUnavailable."""

    def __init__(self, settings: Settings, stores: Stores) -> None:
        self._stores = stores
        self.history = history_group(settings.history, settings.node_id) if settings.history else ""
        self.reports = REPORTS if settings.master_address else ""

    def status(self, group: str) -> OutboxStatus:
        """One group as it stands."""
        return read_status(self._stores.redis, self._stores.keys, group)

    def families(self) -> list[Metric]:
        """The metrics of all groups."""
        found = {
            purpose: self.status(group)
            for purpose, group in (("history", self.history), ("reports", self.reports))
            if group
        }

        def family(kind: type[Metric], name: str, text: str, of: str) -> Metric:
            metric = kind(f"hivemind_outbox_{name}", text, labels=["outbox"])  # type: ignore[call-arg]
            for purpose, status in found.items():
                metric.add_metric([purpose], float(getattr(status, of)))  # type: ignore[attr-defined]
            return metric

        return [
            family(GaugeMetricFamily, "lag_entries", "Events that wait to be passed on.", "lag_entries"),
            family(GaugeMetricFamily, "lag_seconds", "Age of the oldest event that waits.", "lag_seconds"),
            family(GaugeMetricFamily, "led", "Whether a bridge passes them on.", "led"),
            family(GaugeMetricFamily, "last_delivered_seconds", "When one was passed on last.", "delivered_seconds"),
            family(CounterMetricFamily, "delivered", "Events passed on.", "delivered"),
            family(CounterMetricFamily, "refused", "Events set aside with a reason.", "refused"),
            family(CounterMetricFamily, "gaps", "Times that events were trimmed unread.", "gaps"),
        ]


def finding(status: OutboxStatus, far_side: str) -> tuple[bool, str]:
    """Whether all is well, and a sentence that says how things stand. Pure."""
    said = f"{status.delivered} events passed on, {status.lag_entries} wait"
    if status.lag_entries:
        said += f", the oldest for {status.lag_seconds:.0f} s"
    if status.refused:
        said += f", {status.refused} set aside"
    if status.asked_seconds > PATIENCE:
        silent = "" if status.led else ", and the bridge that asked has said nothing since"
        return False, f"{far_side} does not answer: it was asked {status.asked_seconds:.0f} s ago{silent}; {said}"
    if not status.led:
        return False, f"no bridge serves {far_side}; {said}"
    if status.trouble:
        return False, f"{far_side} does not answer: {status.trouble}; {said}"
    if status.resyncing:
        said += "; looking through all records after a gap"
    return status.lag_entries < LATE, said
