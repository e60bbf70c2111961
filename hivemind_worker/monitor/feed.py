"""The one ear on Redis for all who watch: a thread that listens while somebody does, and sleeps while nobody does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import structlog

from hivemind_worker.admission.explain import Explainer
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import StoreUnavailable
from hivemind_worker.domain.job import State, iso
from hivemind_worker.monitor.hub import Batch, Hub
from hivemind_worker.monitor.sse import frame
from hivemind_worker.store.events import Event, order
from hivemind_worker.store.wakeups import Ear

log = structlog.get_logger()

#: seconds between samples of the nodes: their use changes without anybody announcing it
SAMPLE = 2.0
#: seconds between two readings of the stream: a burst of changes becomes few batches
GAP = 0.1
#: views in one batch; where more jobs changed, clients are told to load their list again
MAX_VIEWS = 100
#: events in one batch; a feed that is further behind starts anew and says so
MAX_EVENTS = 2000
WAITING_SHOWN = 100
BACKOFF = (0.1, 0.2, 0.5, 1.0, 2.0)

Post = Callable[..., object]


class Feed:
    """Reads changes and samples once, for every watcher of the hub. `post` runs a call in the hub's thread."""

    def __init__(self, stores: Stores, explainer: Explainer, hub: Hub, wanted: threading.Event, post: Post) -> None:
        self._stores = stores
        self._explainer = explainer
        self._hub = hub
        self._wanted = wanted
        self._run_in_loop = post
        self._stopping = threading.Event()
        self._ear: Ear | None = None
        self._ear_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._cursor = ""
        self._reasons: dict[str, Any] = {}

    def start(self) -> None:
        """Begin. Touches Redis only once somebody watches."""
        self._thread.start()

    def stop(self, timeout: float = 1.0) -> None:
        """End within about `timeout` seconds."""
        self._stopping.set()
        self._wanted.set()
        self._drop_ear()  # wakes a `listen` that waits
        self._thread.join(timeout)

    # --- the thread's life ------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wanted.wait()
            self._wanted.clear()
            self._cursor, self._reasons = "", {}
            failures = 0
            while self._hub.watched and not self._stopping.is_set():
                try:
                    self._session()
                    failures = 0
                except StoreUnavailable as error:
                    if self._stopping.is_set():
                        return
                    self._say_away(str(error), first=failures == 0)
                    self._stopping.wait(BACKOFF[min(failures, len(BACKOFF) - 1)])
                    failures += 1
                except Exception:
                    if self._stopping.is_set():  # `stop` has closed the ear under it
                        return
                    log.exception("feed stumbled")
                    self._stopping.wait(BACKOFF[-1])
            self._hub.greeting.clear()  # what is known now is old by the time somebody watches again

    def _session(self) -> None:
        """Listen until nobody watches. Raises StoreUnavailable."""
        stores, prefix = self._stores, self._stores.keys.changes_prefix
        self._ear = ear = Ear(stores.redis, patterns=[prefix + "*"])
        try:
            ear.listen(0)  # subscribe before the first look, so that nothing falls between the two
            self._begin()
            sample_at, flush_at, flushed = monotonic(), None, 0.0
            while self._hub.watched and not self._stopping.is_set():
                deadline = sample_at if flush_at is None else min(sample_at, flush_at)
                word = ear.listen(max(0.0, deadline - monotonic()))
                if word is not None:
                    task_id = word.channel.removeprefix(prefix)
                    if self._hub.follows(task_id):
                        self._post(self._hub.touch, task_id)
                    if word.data == "state" and flush_at is None:
                        flush_at = max(monotonic(), flushed + GAP)
                now = monotonic()
                if flush_at is not None and now >= flush_at:
                    self._flush()
                    flush_at, flushed = None, now
                if now >= sample_at:
                    self._flush()  # finds what a lost word would have announced
                    self._sample()
                    sample_at = now + SAMPLE
        finally:
            self._drop_ear()

    def _drop_ear(self) -> None:
        """Close it, once: both threads may want to."""
        with self._ear_lock:
            ear, self._ear = self._ear, None
            if ear is not None:
                ear.close()

    def _begin(self) -> None:
        newest = self._stores.events.last_id()
        self._cursor = self._cursor or min(self._hub.since(), key=order, default=newest)
        if order(newest) < order(self._cursor):  # Redis came back without what it had told
            self._cursor = newest
            self._send(frame("resync", {}))
        self._say("store", frame("store", {"state": "up"}))
        self._post(self._hub.touch, None)

    # --- what is told -----------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Tell what changed since the last time."""
        events: list[Event] = []
        while len(events) < MAX_EVENTS and (found := self._stores.events.read(self._cursor, block=0)):
            events += found
            self._cursor = found[-1].id
        if not events:
            return
        if len(events) >= MAX_EVENTS:
            self._cursor = self._stores.events.last_id()
            self._send(frame("resync", {}))
            return
        states = tuple((event.id, state_frame(event)) for event in events)
        changed = list(dict.fromkeys(event.task_id for event in events))
        self._post(self._hub.deliver, Batch(states, self._changes(changed)))

    def _changes(self, changed: list[str]) -> bytes:
        if len(changed) > MAX_VIEWS:
            return frame("tasks", {"tasks": [], "reload": True})
        jobs = [job for job in self._stores.jobs.get_many(changed) if job is not None]
        views = self._explainer.views(jobs)
        self._reasons.update({view["task_id"]: view["waiting"] for view in views if view["waiting"]})
        return frame("tasks", {"tasks": views, "reload": False})

    def _sample(self) -> None:
        """Tell how the nodes stand, and whose reason to wait is another than before."""
        nodes = self._explainer.nodes()
        self._say("nodes", frame("nodes", {"nodes": nodes}))
        page = self._stores.jobs.list(state=State.WAITING, active_only=True, limit=WAITING_SHOWN)
        views = self._explainer.views(page.jobs)
        news = [view for view in views if self._reasons.get(view["task_id"]) != view["waiting"]]
        self._reasons = {view["task_id"]: view["waiting"] for view in views}
        if news:
            self._send(frame("tasks", {"tasks": news, "reload": False}))

    def _say_away(self, detail: str, *, first: bool) -> None:
        if first:
            log.warning("store away", detail=detail)
        self._say("store", frame("store", {"state": "away"}))
        self._post(self._hub.touch, None)

    def _say(self, kind: str, text: bytes) -> None:
        """Send, and greet newcomers with it."""
        self._hub.greeting[kind] = text
        self._send(text)

    def _post(self, call: Callable[..., None], *args: object) -> None:
        try:
            self._run_in_loop(call, *args)
        except RuntimeError:  # the loop has ended before this thread
            if not self._stopping.is_set():
                raise

    def _send(self, text: bytes) -> None:
        self._post(self._hub.deliver, Batch(frames=text))


def event_view(event: Event) -> dict[str, Any]:
    """One change of state as the outside sees it."""
    return {
        "id": event.id,
        "task_id": event.task_id,
        "state": event.state,
        "attempt": event.attempt,
        "cause": event.cause or None,
        "at": iso(event.at),
    }


def state_frame(event: Event) -> bytes:
    """The same on its way to a watcher."""
    return frame("state", event_view(event), event.id)
