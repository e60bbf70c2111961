"""Where a worker's hints go: its own Celery queue, which in Redis is a list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HintQueue:
    """One worker's own queue. Only that worker's consumer reads it, and nothing is acknowledged."""

    name: str
    #: the message that tells of an attempt (task_id, attempt), as the consumer's transport reads it
    message: Callable[[str, int], str]
