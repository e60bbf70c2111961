"""Structured logs: an event and its fields on one line, through the standard logging of the process."""

from __future__ import annotations

import logging
import sys
import time

import structlog


def route_structlog() -> None:
    """Let structlog's events travel through standard logging, whoever owns its handlers (Celery does in a worker)."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"], drop_missing=True, repr_native_str=False),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def configure_process(level: str) -> None:
    """Logs of a process of ours that is not a Celery worker: to stderr, one line each, UTC times."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    route_structlog()
