"""The application: routes, errors, static files, the door; built once per process."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from anyio import to_thread
from fastapi import FastAPI
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from hivemind_worker.bootstrap import Stores
from hivemind_worker.monitor import errors
from hivemind_worker.monitor.context import Monitor
from hivemind_worker.monitor.guard import Guard
from hivemind_worker.monitor.routes import artifact, events, logs, nodes, observe, pages, tasks
from hivemind_worker.settings import Settings
from hivemind_worker.version import __version__

#: calls to the stores at a time; more would wait for Redis, not for threads
THREADS = 12
NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


class Static(StaticFiles):
    """Our own files. Asked for anew each time, and answered with 304 while they are the same."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """The file, with the header that makes a browser ask."""
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def create_app(
    settings: Settings, stores: Stores, on_ready: Callable[[Monitor], None] = lambda _: None
) -> tuple[Guard, FastAPI]:
    """The application behind its door, and the application itself. `on_ready` gets the parts once they run."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        to_thread.current_default_thread_limiter().total_tokens = THREADS
        app.state.monitor = monitor = Monitor.build(settings, stores)
        monitor.feed.start()
        try:
            on_ready(monitor)
            yield
        finally:
            monitor.hub.close()
            monitor.feed.stop()

    app = FastAPI(
        title="HiveMind",
        version=__version__,
        description="What goes on at a HiveMind node, and the few things one can do about it.",
        lifespan=lifespan,
        docs_url=None,  # both pages would load scripts from elsewhere
        redoc_url=None,
        telemetry=NO_TELEMETRY,
    )
    errors.install(app)
    for router in (tasks.router, logs.router, artifact.router, nodes.router, events.router, observe.router):
        app.include_router(router)
    app.include_router(pages.pages_router())
    app.mount("/static", Static(packages=[("hivemind_worker.monitor", "static")]), name="static")
    return Guard(app, {settings.api_host, socket.gethostname(), settings.node_id}), app
