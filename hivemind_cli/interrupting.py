"""What Ctrl-C does to a job that `hivemind run` follows: the first stops it, the second leaves at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hivemind_cli.endings import INTERRUPTED
from hivemind_cli.output import note

if TYPE_CHECKING:
    from bridge.client import Client

#: seconds that leaving "at once" may take for the stop to reach the bridge
AT_ONCE = 1.0


class Stopper:
    """Asks the bridge for the stop, as soon as there is a job to stop."""

    def __init__(self, client: Client, task_id: str) -> None:
        self.asked = False
        self._client, self._id = client, task_id
        self._is_accepted, self._wake, self._told = threading.Event(), threading.Event(), threading.Event()
        self._left = False
        # A thread of its own: a call from inside the handler could meet locks that the main thread holds.
        self._thread = threading.Thread(target=self._work, name="stopper", daemon=True)
        self._thread.start()

    def take_over(self) -> None:
        """From now on there may be a job."""
        signal.signal(signal.SIGINT, self.interrupt)

    def accepted(self) -> None:
        """There is a job to stop now."""
        self._is_accepted.set()
        if self.asked:
            self._wake.set()

    def interrupt(self, *_: object) -> None:
        """The signal handler."""
        if self.asked:
            told = self._told.wait(AT_ONCE)
            words = "the job is being stopped" if told else f"'hivemind stop {self._id}' stops the job"
            os.write(2, f"\nhivemind: left; {words}\n".encode())
            os._exit(INTERRUPTED)
        self.asked = True
        os.write(2, b"\nhivemind: stopping the job; Ctrl-C again leaves at once\n")
        if self._is_accepted.is_set():
            self._wake.set()

    def leave(self) -> None:
        """The job has ended, or never was: the thread may go."""
        self._left = True
        self._wake.set()
        self._thread.join()

    def _work(self) -> None:
        from bridge.client import CallError

        self._wake.wait()
        if self._left:
            return
        try:
            self._client.cancel(self._id, None)
            self._told.set()
        except CallError as error:
            note(f"hivemind: the stop did not reach the bridge: {error.message}")


@contextmanager
def stop_on_interrupt(client: Client, task_id: str) -> Iterator[Stopper]:
    """A stopper; from its `take_over` on, Ctrl-C stops the job instead of ending us."""
    before = signal.getsignal(signal.SIGINT)
    stopper = Stopper(client, task_id)
    try:
        yield stopper
    finally:
        signal.signal(signal.SIGINT, before)
        stopper.leave()
