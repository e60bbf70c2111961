"""The Celery application, which `celery -A hivemind_worker worker` finds as `app`. Configured at first use."""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery, signals

from hivemind_worker.broker import TolerantAMQP
from hivemind_worker.domain.errors import SettingsError
from hivemind_worker.log import route_structlog
from hivemind_worker.settings import Settings, load_settings
from hivemind_worker.step import AdmissionStep

#: threads beside those of the jobs: intake, and bodies that are on their way out
SPARE_THREADS = 8


def configuration() -> dict[str, Any]:
    """Celery's settings, from ours. A bad setting ends the process with one line that names it."""
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.exit(f"hivemind: {error}")
    return celery_settings(settings)


def celery_settings(settings: Settings) -> dict[str, Any]:
    """Pure part of the configuration. Why each: docs/architecture.md, 'Celery'."""
    return {
        "broker_url": settings.celery_broker,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A Redis that takes no writes (its disk is full) answers with errors of this kind: it is away, not broken.
        "broker_channel_error_retry": True,
        # A Redis that hangs must not hold the consumer, or whoever sends to it, longer than this.
        "broker_transport_options": {
            "socket_keepalive": True,
            "health_check_interval": 10,
            "socket_connect_timeout": 2,
            "socket_timeout": 10,
            "max_retries": 1,
            "interval_start": 0,
            "interval_max": 0.2,
        },
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_ignore_result": True,
        "task_send_sent_event": False,
        "worker_send_task_events": True,
        "worker_pool": "threads",
        "worker_concurrency": settings.max_concurrent_tasks + SPARE_THREADS,
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": True,
        "worker_log_format": "%(asctime)s %(levelname)s %(name)s %(message)s",
        "worker_redirect_stdouts": False,
        "imports": ("hivemind_worker.tasks", "hivemind_worker.control"),
    }


app = Celery("hivemind_worker", amqp=TolerantAMQP)
app.add_defaults(configuration)
app.steps["worker"].add(AdmissionStep)


@signals.celeryd_init.connect  # type: ignore[untyped-decorator]
def _route_logs(**_: Any) -> None:
    route_structlog()
