"""Remembers hints and sends them again. A hint has no guarantee: what cannot be sent now is sent at a later beat."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from hivemind_worker.admission.recovery import Hints

log = structlog.get_logger()


class Hinter:
    """What this worker's own queue was told. The first hint goes with the reservation; `send` puts another there.

    Owned by the admission thread.
    """

    def __init__(self, send: Callable[[str, int], None], beat: float) -> None:
        self._send = send
        self.book = Hints(beat)

    def sent(self, task_id: str, attempt: int) -> None:
        """One went with its reservation."""
        self.book.sent(task_id, attempt, time.monotonic())

    def send_again(self, task_id: str, attempt: int) -> None:
        """Send another. Never fails."""
        try:
            self._send(task_id, attempt)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the queue, the beat has more to do
            log.warning("hint not sent", job_id=task_id, attempt=attempt, error=str(error))
        self.sent(task_id, attempt)
