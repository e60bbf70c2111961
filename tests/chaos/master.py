"""The master: assigns jobs through the real bridge until they are acknowledged, cancels some, and sees how they end."""

from __future__ import annotations

import json
import queue
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import redis

from bridge.call_error import CallError
from bridge.client import Client, LogLine
from hivemind_worker.store.connection import fields
from hivemind_worker.store.events import Event, Events
from hivemind_worker.store.keys import Keys
from tests.chaos.jobs import GRACE, Order, draw
from tests.chaos.journal import Journal, of_wall
from tests.chaos.logs import LogReader

#: answers after which the same is asked again
AGAIN = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED")
#: jobs that are on their way at once, and threads that assign
OUTSTANDING, SENDERS = 36, 3
#: logs that are followed live at once
FOLLOWERS = 4
TERMINAL = ("completed", "failed", "stopped")


class Master:
    """Threads that assign and cancel until told to stop, and one that follows the site's events."""

    def __init__(
        self, address: str, journal: Journal, seed: int, redis_port: int, outstanding: int = OUTSTANDING
    ) -> None:
        self._address, self._journal, self._redis_port = address, journal, redis_port
        self._rng = random.Random(f"load {seed}")
        self._prefix = f"c{seed % 1000}-"
        self._drawn = 0
        self._lock = threading.Lock()
        self._ends = threading.Condition(self._lock)
        self._room = threading.BoundedSemaphore(outstanding)
        self._stopping, self._deaf = threading.Event(), threading.Event()
        self._cancels: queue.PriorityQueue[tuple[float, str]] = queue.PriorityQueue()
        self._orders: dict[str, Order] = {}
        self._follows: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._open: set[str] = set()
        self._ended: set[str] = set()
        self.acknowledged: set[str] = set()
        self._threads = [self._thread("sender", self._assign_all) for _ in range(SENDERS)]
        self._threads.append(self._thread("canceller", self._cancel_all))
        self._followers = [self._thread("follower", self._follow_all) for _ in range(FOLLOWERS)]
        self._listener = self._thread("listener", self._listen)

    def _thread(self, name: str, act: Callable[[], None]) -> threading.Thread:
        return threading.Thread(target=self._journal.guarded(f"master's {name}", act), name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._listener.start()
        for thread in (*self._threads, *self._followers):
            thread.start()

    def stop(self) -> None:
        """Assign nothing more; what was begun is acknowledged or given up."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)

    def close(self) -> None:
        """Wait for those who follow a log, and stop listening."""
        for thread in self._followers:
            thread.join(60)
        self._deaf.set()
        self._listener.join(30)

    def unfinished(self) -> set[str]:
        """Acknowledged jobs whose end no event has told of."""
        with self._lock:
            return set(self._open)

    def await_ends(self, seconds: float) -> set[str]:
        """Wait until every acknowledged job has ended, for so long at most; those that have not."""
        with self._ends:
            self._ends.wait_for(lambda: not self._open, seconds)
            return set(self._open)

    # --- assigning -------------------------------------------------------------------------------------

    def _next(self) -> Order:
        with self._lock:
            order = draw(self._rng, self._drawn, self._prefix)
            self._drawn += 1
            self._orders[order.task_id] = order
            return order

    def _assign_all(self) -> None:
        with Client(self._address, deadline=10.0) as client:
            while not self._stopping.is_set():
                if not self._room.acquire(timeout=0.2):
                    continue
                order = self._next()
                self._journal.note("submit", **order.facts())
                if not self._assign(client, order):
                    self._room.release()

    def _assign(self, client: Client, order: Order) -> bool:
        """Until it is acknowledged or refused for good; whether it was acknowledged."""
        assignment = dict(order.assignment)
        answer = None
        while answer is None:
            try:
                if order.bundle is not None:
                    assignment["bundle_sha256"] = self._upload(client, order.bundle)
                answer = client.assign(assignment)
            except CallError as error:
                if error.code not in AGAIN or self._stopping.is_set():
                    self._journal.note("refused", job=order.task_id, code=error.code, words=str(error)[:300])
                    return False
                self._stopping.wait(0.2)
        with self._lock:
            self.acknowledged.add(order.task_id)
            if order.task_id in self._ended:  # the first answer was lost, and the job was quicker than the second
                self._room.release()
            else:
                self._open.add(order.task_id)
        self._journal.note("ack", job=order.task_id, created=answer["created"], state=answer["state"])
        if order.cancel_after is not None:
            self._cancels.put((time.monotonic() + order.cancel_after, order.task_id))
        if order.follow:
            self._follows.put(order.task_id)
        if order.repeat:
            self._send_again(client, assignment)
        return True

    def _upload(self, client: Client, bundle: bytes) -> str:
        with tempfile.NamedTemporaryFile(suffix=".zip") as file:
            file.write(bundle)
            file.flush()
            return client.upload(Path(file.name))

    def _send_again(self, client: Client, assignment: dict[str, Any]) -> None:
        """An acknowledged assignment once more is the same job."""
        try:
            answer = client.assign(assignment)
        except CallError as error:
            if error.code not in AGAIN:
                self._journal.note("repeat", job=assignment["task_id"], code=error.code, words=str(error)[:300])
            return
        self._journal.note("repeat", job=assignment["task_id"], created=answer["created"])

    # --- cancelling ------------------------------------------------------------------------------------

    def _cancel_all(self) -> None:
        with Client(self._address, deadline=10.0) as client:
            while True:
                try:
                    due, job = self._cancels.get(timeout=0.2)
                except queue.Empty:
                    if self._stopping.is_set():
                        return
                    continue
                if self._stopping.wait(max(0.0, due - time.monotonic())):
                    return
                self._cancel(client, job)

    def _cancel(self, client: Client, job: str) -> None:
        self._journal.note("cancel", job=job)
        while not self._stopping.is_set():
            try:
                answer = client.cancel(job, GRACE)
            except CallError as error:
                if error.code in AGAIN:
                    self._stopping.wait(0.2)
                    continue
                self._journal.note("cancel answer", job=job, code=error.code)
                return
            self._journal.note("cancel answer", job=job, accepted=answer["accepted"], state=answer["state"])
            return

    # --- following -------------------------------------------------------------------------------------

    def _follow_all(self) -> None:
        """Read logs live, to their end, as a person does who watches; across whatever happens to the bridge."""
        with Client(self._address) as client:
            while True:
                try:
                    job = self._follows.get(timeout=0.2)
                except queue.Empty:
                    if self._stopping.is_set():
                        return
                    continue
                try:
                    self._journal.note("log", job=job, source="follow", **read_log(client.logs(job, follow=True)))
                except CallError as error:
                    # A minute without any bridge is more than a client waits for.
                    if error.code not in AGAIN:
                        self._journal.note("unread", job=job, code=error.code, words=f"followed: {error}"[:300])

    # --- listening -------------------------------------------------------------------------------------

    def _listen(self) -> None:
        """Follow the events stream, asked directly: what the site says happened, in its order."""
        client = redis.Redis(port=self._redis_port, socket_timeout=20, socket_connect_timeout=2)
        keys = Keys("hivemind")
        events, last = Events(client, keys), "0-0"
        while not self._deaf.is_set():
            try:
                batch = events.read(last, block=0.5)
                for event in batch:
                    self._take(event, fields(client.hgetall(keys.job(event.task_id))))
                    last = event.id
            except Exception:  # noqa: BLE001 - Redis is killed and frozen at will; the stream is read on from `last`
                self._deaf.wait(0.1)
        client.close()

    def _take(self, event: Event, record: dict[str, str]) -> None:
        self._journal.note(
            "event", t=of_wall(event.at), id=event.id, job=event.task_id, state=event.state, attempt=event.attempt,
            cause=event.cause, worker=record.get("worker", ""), node=record.get("node", ""),
        )  # fmt: skip
        if event.state in TERMINAL:
            self._journal.note("outcome", **outcome_of(record))
            with self._lock:
                self._ended.add(event.task_id)
                if event.task_id in self._open:
                    self._open.discard(event.task_id)
                    self._room.release()
                    self._ends.notify_all()


def read_log(lines: Iterable[LogLine]) -> dict[str, Any]:
    """A log by StreamLogs as runs of its lines, and what is wrong with the numbers of its chunks."""
    reader, wrong, last = LogReader(), list[str](), 0
    for line in lines:
        if line.number <= last:
            wrong.append(f"chunk {line.number} after chunk {last}")
        elif line.number > last + 1 and line.stream != "notice":
            wrong.append(f"chunk {line.number} after chunk {last}, and no mark")
        last = line.number
        reader.feed(line.stream, line.data)
    return {"items": reader.end(), "wrong": wrong}


def outcome_of(record: dict[str, str]) -> dict[str, Any]:
    """What a job's record, as it lies in Redis, says of its end. Pure."""
    outcome = json.loads(record.get("outcome") or "{}")
    return {
        "job": json.loads(record.get("spec") or "{}").get("task_id", ""),
        "state": record.get("state", ""),
        "attempt": int(record.get("attempt", 0)),
        "cause": outcome.get("cause"),
        "exit_code": outcome.get("exit_code"),
        "evidence": outcome.get("evidence"),
        "artifact": (outcome.get("artifact") or {}).get("sha256"),
        "finished": record.get("finished"),
    }
