"""What Ctrl-C does to a job that `hivemind run` follows: the first stops it, the second leaves at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hivemind_cli.endings import INTERRUPTED
from hivemind_cli.output import note

if TYPE_CHECKING:
    from bridge.client import Client

#: seconds that leaving "at once" may take for the stop to reach the bridge
AT_ONCE = 1.0
STOP, LEAVE = b"s", b"l"


class Stopper:
    """Asks the bridge for the stop, as soon as there is a job to stop.

    The handler only writes into a pipe: it may interrupt itself, and any lock it took could be one it holds already.
    The stop goes over a connection of its own: the interrupted code may hold what another call on its own would need.
    """

    def __init__(self, connect: Callable[[], Client], task_id: str) -> None:
        self.asked = False
        self._connect, self._id = connect, task_id
        self._accepted = False
        self._told = threading.Event()
        self._read, self._write = os.pipe()
        self._thread = threading.Thread(target=self._work, name="stopper", daemon=True)
        self._thread.start()

    def take_over(self) -> None:
        """From now on there may be a job."""
        signal.signal(signal.SIGINT, self.interrupt)

    def accepted(self) -> None:
        """There is a job to stop now."""
        self._accepted = True
        if self.asked:
            os.write(self._write, STOP)

    def interrupt(self, *_: object) -> None:
        """The signal handler."""
        if self._accepted:
            os.write(self._write, STOP)
        if self.asked:
            told = self._told.wait(AT_ONCE)
            words = "the job is being stopped" if told else f"'hivemind stop {self._id}' stops the job"
            os.write(2, f"\nhivemind: left; {words}\n".encode())
            os._exit(INTERRUPTED)
        self.asked = True
        os.write(2, b"\nhivemind: stopping the job; Ctrl-C again leaves at once\n")

    def leave(self) -> None:
        """The job has ended, or never was: the thread may go."""
        os.write(self._write, LEAVE)
        self._thread.join()
        os.close(self._read)
        os.close(self._write)

    def _work(self) -> None:
        from bridge.client import CallError

        if os.read(self._read, 1) == LEAVE:
            return
        try:
            with self._connect() as client:
                client.cancel(self._id)
                self._told.set()
        except CallError as error:
            note(f"hivemind: the stop did not reach the bridge: {error.message}")


@contextmanager
def stop_on_interrupt(connect: Callable[[], Client], task_id: str) -> Iterator[Stopper]:
    """A stopper; from its `take_over` on, Ctrl-C stops the job instead of ending us."""
    before = signal.getsignal(signal.SIGINT)
    stopper = Stopper(connect, task_id)
    try:
        yield stopper
    finally:
        signal.signal(signal.SIGINT, before)
        stopper.leave()
