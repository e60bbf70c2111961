"""How Celery's own verbs act on our jobs: terminate stops the container, cancel lets go of it."""

from __future__ import annotations

import time
from typing import Any

from celery.worker.request import Request

from hivemind_worker.store.keys import INTAKE_QUEUE


class JobRequest(Request):  # type: ignore[misc]
    """A request for `hivemind.run_job`: a hint on the worker's own queue, or intake from a plain Celery client."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settled = False
        self._intake = (self.delivery_info or {}).get("routing_key") == INTAKE_QUEUE
        if self._intake:
            # What Flower, logs and `inspect` show of it: an assignment may carry secrets.
            self._argsrepr, self._kwargsrepr = "('an assignment',)", "{}"
            self._request_dict.update(argsrepr=self._argsrepr, kwargsrepr=self._kwargsrepr)
        else:
            # The own queue has no acknowledgements. A request that looks unacknowledged makes Celery exit when Redis
            # goes away, and the record, not the message, is what must not be lost.
            self.acknowledged = True

    def acknowledge(self) -> None:
        """Intake is acknowledged once it is durable or refused, not when a thread picks it up."""
        if self._settled or not self._intake:
            super().acknowledge()

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        """The body raised: a failed job, a refusal, or Ignore, with which intake and detached bodies end."""
        self._settled = True
        result = super().on_failure(exc_info, send_failed_event, return_ok)
        if not self.acknowledged:
            self.acknowledge()
        return result

    def send_event(self, type: str, **fields: Any) -> None:
        """Failures carry their run time too, so that Flower can show it."""
        if type == "task-failed" and self.time_start:
            fields.setdefault("runtime", time.time() - self.time_start)
        super().send_event(type, **fields)

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """Flower's or `celery control`'s terminate: stop the job; its body reports the end."""
        from hivemind_worker.control import stop_job

        stop_job(self._app, self.id)

    def info(self, safe: bool = False) -> Any:
        """What `inspect active` shows; never the arguments themselves."""
        return super().info(safe=safe or self._intake)

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Celery lets go of a task, on a lost connection or a cold shutdown: the container goes on."""
