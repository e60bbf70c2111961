"""Admission's home in a Celery worker: one step of the worker's own blueprint, so that reconnects leave it alone."""

from __future__ import annotations

import os
import sys
import threading
from functools import partial
from typing import Any

import structlog
from celery import bootsteps, signals
from kombu import Queue

from hivemind_worker.agent import Agent, build_agent
from hivemind_worker.domain.errors import HiveMindError, SettingsError
from hivemind_worker.hint_message import hint_message
from hivemind_worker.settings import Settings, load_settings
from hivemind_worker.store.hints import HintQueue

log = structlog.get_logger()

#: a worker that was told to leave is gone after this many seconds, whatever its threads do; its containers go on
LEAVE_WITHIN = 1.5


def own_queue(app: Any, settings: Settings, hostname: str) -> Queue:
    """The queue that carries this worker's hints. No acknowledgements: a hint has no delivery guarantee."""
    name = f"hivemind.{settings.namespace}.{settings.node_id}.{hostname}"
    return Queue(
        name,
        exchange=app.amqp.queues.autoexchange(name, exchange_type="direct"),
        routing_key=name,
        no_ack=True,
    )


def check_broker(app: Any, settings: Settings) -> None:
    """Raises SettingsError where Celery's own variables or `-b` name another broker: admission puts hints into ours."""
    if app.conf.broker_read_url != settings.celery_broker:
        raise SettingsError(
            "the broker is the Redis that holds the node's ledger: take -b, CELERY_BROKER_URL and "
            "CELERY_BROKER_READ_URL away, and name that Redis with HIVEMIND_REDIS_URL"
        )


def agent_of(app: Any) -> Agent:
    """The agent that the step built for this process' worker. Raises HiveMindError outside of a worker."""
    agent = getattr(app, "hivemind_agent", None)
    if agent is None:
        raise HiveMindError("hivemind.run_job runs only inside a HiveMind worker")
    assert isinstance(agent, Agent)
    return agent


class AdmissionStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Builds the agent, starts admission after the pool and stops it before."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        app, hostname = worker.app, worker.hostname
        try:
            settings = load_settings()
            check_broker(app, settings)
            self._queue = own_queue(app, settings, hostname)
            self.agent = build_agent(settings, worker=hostname, queue=self._hints(app), leave=leave)
        except HiveMindError as error:
            sys.exit(f"hivemind: {error}")
        app.hivemind_agent = self.agent
        signals.celeryd_after_setup.connect(self._listen_to_own_queue, weak=False)
        signals.worker_shutting_down.connect(self._leave, weak=False)

    def start(self, parent: Any) -> None:
        """Called by Celery once the pool is there."""
        self.agent.start()

    def stop(self, parent: Any) -> None:
        """Called by Celery on the way out, whoever asked for it."""
        leave_soon()
        self.agent.stop()

    def _hints(self, app: Any) -> HintQueue:
        return HintQueue(self._queue.name, partial(hint_message, app, self._queue))

    def _listen_to_own_queue(self, instance: Any = None, **_: Any) -> None:
        instance.app.amqp.queues.select_add(self._queue)

    def _leave(self, **_: Any) -> None:
        # A signal handler: the thread may take locks that the interrupted frame holds.
        threading.Thread(target=self.agent.let_go, name="leave", daemon=True).start()
        leave_soon()


def leave_soon() -> None:
    """End this process after LEAVE_WITHIN seconds, whatever its threads do."""
    timer = threading.Timer(LEAVE_WITHIN, os._exit, args=(0,))
    timer.daemon = True
    timer.start()


def leave(reason: str) -> None:
    """This process cannot do its work any more; its supervisor starts a new one. Containers go on."""
    log.critical("worker leaves", reason=reason)
    os._exit(70)  # EX_SOFTWARE
