"""A worker's housekeeping: a thread that sweeps what a kill at any instruction may have left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from hivemind_worker.admission.running import Running
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import HiveMindError
from hivemind_worker.execution.handle import Handle
from hivemind_worker.execution.janitor import Attempt, Janitor
from hivemind_worker.execution.node_names import noted_names
from hivemind_worker.settings import Settings
from hivemind_worker.store.staging import sweep_staging

log = structlog.get_logger()

#: seconds between two rounds: what is left behind is gone well within ten
ROUND = 3.0
#: seconds until a round is tried again for which Redis or the engine was away
AGAIN = 1.0
#: seconds between two looks through everything that is kept, which may be a great many files
LONG_ROUND = 60.0


class Rounds:
    """One thread: rounds from the start on, a long one now and then. What a round raises puts it off for AGAIN."""

    def __init__(self, sweep: Callable[[], None], sweep_store: Callable[[], None]) -> None:
        self._short, self._long = _Round(sweep, ROUND), _Round(sweep_store, LONG_ROUND)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end after the round it is in; nothing depends on a round being whole."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            due = min(self._short.go_if_due(), self._long.go_if_due())
            self._stopping.wait(max(0.0, due - time.monotonic()))


class _Round:
    """One kind of round. Owned by the thread."""

    def __init__(self, sweep: Callable[[], None], every: float) -> None:
        self._sweep, self._every = sweep, every
        self._due = 0.0
        self._put_off = False

    def go_if_due(self) -> float:
        """Do it when its time has come; when the next one is due, by the monotonic clock."""
        if time.monotonic() >= self._due:
            self._due = (self._every if self._go() else AGAIN) + time.monotonic()
        return self._due

    def _go(self) -> bool:
        try:
            self._sweep()
        except HiveMindError as error:
            if not self._put_off:
                log.info("housekeeping put off", why=str(error))
            self._put_off = True
            return False
        except Exception:
            log.exception("housekeeping stumbled")
            return True
        self._put_off = False
        return True


def housekeeping(
    stores: Stores, janitor: Janitor, running: Running[Handle], *, node: str, settings: Settings
) -> Rounds:
    """The rounds of one worker."""

    def rows() -> frozenset[Attempt]:
        # A job of an earlier name is that name's until it counts as lost.
        names = {node} | noted_names(settings.state)
        held = (row for name in names for row in stores.ledger.rows(name).items())
        return frozenset((task_id, row.attempt) for task_id, row in held)

    def sweep() -> None:
        sweep_staging(settings.state / "tmp")
        janitor.sweep(rows, running.ids)

    def sweep_store() -> None:
        stores.jobs.forget_expired()
        stores.bundles.sweep(settings.retention, stores.jobs.bundles_in_use)
        stores.artifacts.sweep(settings.retention, frozenset)

    return Rounds(sweep, sweep_store)
