"""Looks at a node from outside while it works: at the engine for what containers may use, at Redis for promises."""

from __future__ import annotations

import json
import select
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from hivemind_worker.admission.devices import free_on
from hivemind_worker.admission.policy import plan
from hivemind_worker.admission.rules import Place, Rules
from hivemind_worker.admission.space import Space, need_of
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.node import Node
from hivemind_worker.domain.resources import Amount
from hivemind_worker.execution.sandbox import LABEL_NODE, LABEL_SITE
from hivemind_worker.execution.wire import Address, EngineRefused, call, open_stream


@dataclass(frozen=True, slots=True)
class Caps:
    """What one container, or several together, may use, as the engine's HostConfig has it."""

    millicores: int = 0
    memory: int = 0
    slots: int = 0

    def __add__(self, other: Caps) -> Caps:
        return Caps(self.millicores + other.millicores, self.memory + other.memory, self.slots + other.slots)

    def beyond(self, lent: Amount) -> list[str]:
        """What of it is more than the node lends."""
        pairs = {
            "millicores": (self.millicores, lent.millicores),
            "memory": (self.memory, lent.memory),
            "slots": (self.slots, lent.slots),
        }
        return [f"{name}: {used} of {most}" for name, (used, most) in pairs.items() if used > most]


class EngineEye:
    """Follows one node's containers and their caps by the engine's own events: what lives is known at every moment.

    It asks the engine by itself, not through the code under test. `hear` belongs to one thread.
    """

    def __init__(self, site: str, node: str, changed: Callable[[Mapping[str, Caps]], None]) -> None:
        """`changed` is called after each event that changed what lives."""
        labels = {"type": ["container"], "label": [f"{LABEL_SITE}={site}", f"{LABEL_NODE}={node}"]}
        self._engine = Address.parse(None)
        self._events = open_stream(
            self._engine, "GET", "/events?" + urlencode({"filters": json.dumps(labels)}), timeout=60
        )
        self._changed = changed
        self._poll, self._rest = select.poll(), b""
        self._poll.register(self._events.fileno(), select.POLLIN)
        #: replaced, never changed, so that any thread may look
        self.live: Mapping[str, Caps] = {}

    def close(self) -> None:
        """Listen no more."""
        self._events.close()

    def hear(self, timeout: float) -> None:
        """Take in the events of the next `timeout` seconds. Raises RuntimeError when the engine ends the stream."""
        if not self._poll.poll(1000 * timeout):
            return
        buffer = memoryview(bytearray(64 * 1024))
        count = self._events.read_into(buffer)
        if count == 0:
            raise RuntimeError("the engine's events ended")
        *lines, self._rest = (self._rest + bytes(buffer[: count or 0])).split(b"\n")
        for line in lines:
            if line.strip():
                self._take(json.loads(line))

    def _take(self, event: Mapping[str, Any]) -> None:
        name = event["Actor"]["Attributes"]["name"]
        if event["Action"] == "create":
            caps = self._caps(event["Actor"]["ID"])
            if caps is not None:  # else it is gone already
                self.live = {**self.live, name: caps}
        elif event["Action"] in ("die", "destroy") and name in self.live:
            self.live = {known: caps for known, caps in self.live.items() if known != name}
        else:
            return
        self._changed(self.live)

    def _caps(self, container: str) -> Caps | None:
        seen = self._inspect(container)
        if seen is None:
            return None
        host = seen["HostConfig"]
        if not host["NanoCpus"] or not host["Memory"]:
            raise RuntimeError(f"container {container} has no caps: {host['NanoCpus']=} {host['Memory']=}")
        return Caps(host["NanoCpus"] // 1_000_000, host["Memory"], 1)

    def _inspect(self, container: str) -> dict[str, Any] | None:
        try:
            return dict(call(self._engine, "GET", f"/containers/{container}/json", timeout=60))
        except EngineRefused as refused:
            if refused.status == 404:
                return None
            raise


@dataclass
class Samples:
    """What was seen, counted."""

    taken: int = 0
    live: int = 0
    #: changes of what lives; the sum of caps is looked at after each, so that no moment is missed between two samples
    moments: int = 0
    most: Caps = Caps()
    #: one line for each moment at which the sum of caps was more than the node lends
    exceeded: list[str] = field(default_factory=list)
    #: samples in which a slot was idle · and a waiting job fitted · and the plan of that moment would have started one
    idle: Counter[str] = field(default_factory=Counter)
    #: how long a row outlived the end that its job was declared to have, at most, ms
    overrun: int = 0


def look(eye: EngineEye, samples: Samples) -> None:
    """One look at what lives."""
    samples.taken += 1
    samples.live += len(eye.live)


def note(samples: Samples, live: Mapping[str, Caps], lent: Amount) -> None:
    """Count one moment: what lives after an event, from its making until its end."""
    total = sum(live.values(), Caps())
    samples.moments += 1
    most = samples.most
    samples.most = Caps(
        max(most.millicores, total.millicores), max(most.memory, total.memory), max(most.slots, total.slots)
    )
    if beyond := total.beyond(lent):
        samples.exceeded.append(f"moment {samples.moments}: {', '.join(beyond)} by {', '.join(sorted(live))}")


def look_at_line(stores: Stores, node: Node, samples: Samples, rules: Rules) -> None:
    """One look at the ledger: whether slots are idle that a waiting job could have. A moment between two states of the
    ledger does not count: it is looked at again."""
    for _ in range(5):
        rows = stores.ledger.rows(node.node)
        free = free_on(node, rows.values())[0]
        promise, now = stores.ledger.promise(), stores.ledger.now_ms()
        window = stores.ledger.window({node.node: free}, *([promise.task_id] if promise else []))
        if stores.ledger.rows(node.node).keys() == rows.keys():
            break
    else:
        samples.idle["restless"] += 1
        return
    samples.idle["looks"] += 1
    samples.overrun = max(samples.overrun, *(now - row.deadline for row in rows.values()), 0)
    if not free.slots or not window.candidates:
        return
    samples.idle["idle"] += 1
    space = Space(node, rows, now)
    if not any(space.covers(need_of(each.shape)) for each in window.candidates):
        return
    samples.idle["fits"] += 1
    place = Place(node, rows)
    made = plan(window.candidates, [place], worker="", now=now, rules=rules, promise=promise, reasons=False)
    samples.idle["due"] += bool(made.claims)


@dataclass(frozen=True, slots=True)
class Promised:
    """A reservation as it was first seen: what it is for, and when it was seen. Epoch ms by Redis' clock."""

    at: int
    seen: int


def glance(stores: Stores, first: dict[str, Promised]) -> None:
    """Note who is promised when, the first time that a job is."""
    promise = stores.ledger.promise()
    if promise is not None and promise.task_id not in first:
        first[promise.task_id] = Promised(promise.at, stores.ledger.now_ms())


@contextmanager
def watching(look: Callable[[], None], every: float) -> Iterator[None]:
    """Look every so many seconds, in a thread, while a block runs. Raises at its end what ended the watch too early."""
    stop, faults = threading.Event(), list[Exception]()

    def watch() -> None:
        due = time.monotonic()
        try:
            while True:
                look()
                due = max(due + every, time.monotonic())
                if stop.wait(due - time.monotonic()):
                    return
        except Exception as fault:  # noqa: BLE001 - raised where the block ends
            faults.append(fault)

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if faults:
        raise faults[0]
