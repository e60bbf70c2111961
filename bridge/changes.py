"""Tells every follower of a job that it changed: one subscription in Redis, one thread, any number of followers."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator

import redis
import structlog

from hivemind_worker.store.connection import named_faults
from hivemind_worker.store.keys import Keys
from hivemind_worker.store.wakeups import Ear

log = structlog.get_logger()

#: seconds after which a follower looks for itself, should a word have been lost
SAFETY = 5.0
#: seconds of silence after which Redis is asked whether it is there, with nobody following and with followers
_PULSE, _PULSE_FOLLOWED = 1.0, 0.5
#: seconds between tries while Redis is away
_RETRY = 0.25


class Follower:
    """One stream that follows one job. Lives on the event loop."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._state_changed = False

    def wake(self, *, state: bool) -> None:
        """Something happened: to the job's record, or only to its log."""
        self._state_changed = self._state_changed or state
        self._woken.set()

    def state_changed(self) -> bool:
        """Whether the record may have changed since this was asked last. Ask before reading it, not after."""
        changed, self._state_changed = self._state_changed, False
        return changed

    async def wait(self) -> None:
        """Return at the next word, or after SAFETY seconds."""
        try:
            async with asyncio.timeout(SAFETY):
                await self._woken.wait()
        except TimeoutError:
            self._state_changed = True
        self._woken.clear()


class Changes:
    """The fan-out. Its thread also tells whether Redis answers, since it is the first to know."""

    def __init__(self, client: redis.Redis, keys: Keys, on_store: Callable[[bool], None]) -> None:
        """`on_store` is called on the event loop whenever Redis comes or goes, and once at the beginning."""
        self._client = client
        self._prefix = keys.changes_prefix
        self._on_store = on_store
        self._loop = asyncio.get_running_loop()
        self._followers: dict[str, set[Follower]] = {}
        self._followed = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="changes", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    @contextlib.contextmanager
    def follow(self, task_id: str) -> Iterator[Follower]:
        """Hear of a job's changes. Enter before reading the job, then nothing is missed."""
        follower = Follower()
        self._followers.setdefault(task_id, set()).add(follower)
        self._followed.set()
        try:
            yield follower
        finally:
            group = self._followers[task_id]
            group.discard(follower)
            if not group:
                del self._followers[task_id]
            if not self._followers:
                self._followed.clear()

    def stop(self, timeout: float) -> None:
        """End the thread; wait for that so many seconds."""
        self._stop.set()
        self._followed.set()
        self._thread.join(timeout)

    # --- the thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        up: bool | None = None
        while not self._stop.is_set():
            try:
                with named_faults():
                    self._client.ping()
                up = self._tell(up, True)
                if self._followed.wait(_PULSE):
                    self._listen()
            except Exception as error:  # noqa: BLE001 - whatever it is, the followers need their thread
                if up is not False and not self._stop.is_set():
                    log.warning("redis does not answer", error=str(error))
                up = self._tell(up, False)
                self._stop.wait(_RETRY)

    def _listen(self) -> None:
        """Hand words on for as long as anybody follows: with no follower, a busy node's words would be wasted work."""
        ear = Ear(self._client, patterns=[f"{self._prefix}*"])
        try:
            word = ear.listen(timeout=0.0)
            self._on_loop(self._wake_all)  # who came before the subscription, or missed words in a gap, looks again
            while self._followers and not self._stop.is_set():
                if word is None:
                    with named_faults():
                        self._client.ping()
                elif (task_id := word.channel.removeprefix(self._prefix)) in self._followers:
                    self._on_loop(self._wake, task_id, word.data == "state")
                word = ear.listen(timeout=_PULSE_FOLLOWED)
        finally:
            ear.close()

    def _tell(self, before: bool | None, now: bool) -> bool:
        if before is not now:
            if before is False:
                log.info("redis answers again")
            self._on_loop(self._on_store, now)
        return now

    def _on_loop(self, call: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody follows any more
            self._loop.call_soon_threadsafe(call, *args)

    def _wake(self, task_id: str, state: bool) -> None:
        for follower in self._followers.get(task_id, ()):
            follower.wake(state=state)

    def _wake_all(self) -> None:
        """After a gap nobody knows what was missed."""
        for group in self._followers.values():
            for follower in group:
                follower.wake(state=True)
