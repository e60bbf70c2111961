"""Sends hints and remembers them. A hint has no guarantee: one that cannot be sent is sent again at a later beat."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from hivemind_worker.admission.recovery import Hints
from hivemind_worker.killpoints import reach

log = structlog.get_logger()


class Hinter:
    """Puts hints on this worker's own queue. Owned by the admission thread."""

    def __init__(self, send: Callable[[str, int], None], beat: float) -> None:
        self._send = send
        self.book = Hints(beat)

    def hint(self, task_id: str, attempt: int) -> None:
        """Send one. Never fails."""
        try:
            self._send(task_id, attempt)
            reach("hinted", task_id)
        except Exception as error:  # noqa: BLE001 - kombu has many ways to say that the broker is away
            log.warning("hint not sent", job_id=task_id, attempt=attempt, error=str(error))
        finally:
            self.book.sent(task_id, attempt, time.monotonic())
