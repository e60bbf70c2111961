"""`python -m hivemind_worker.monitor`: the status API and the page of this node."""
# ruff: noqa: E402

from __future__ import annotations

import sys

# structlog loads rich where it finds it: 3 MB for colours that no service's log has.
sys.modules.setdefault("rich", None)  # type: ignore[arg-type]

import asyncio
import logging
import os

import structlog

from hivemind_worker.bootstrap import open_stores
from hivemind_worker.domain.errors import SettingsError
from hivemind_worker.log import configure_process
from hivemind_worker.monitor.app import create_app
from hivemind_worker.monitor.context import Monitor
from hivemind_worker.monitor.server import Server, bind
from hivemind_worker.settings import Settings, load_settings

log = structlog.get_logger("hivemind.monitor")

#: what a supervisor should not retry: a person has to change something
EXIT_USAGE = 2


def main() -> int:
    """Serve until told to stop; the exit status."""
    try:
        settings = load_settings()
    except SettingsError as error:
        return refuse(str(error))
    configure_process(settings.log_level)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return serve(settings)


def serve(settings: Settings) -> int:
    """Bind, serve, tidy up."""
    try:
        listener = bind(settings.api_host, settings.api_port)
    except OSError as error:
        where = f"{settings.api_host}:{settings.api_port}"
        return refuse(f"HIVEMIND_API_PORT: cannot listen on {where}: {error.strerror or error}")
    host, port = listener.getsockname()[:2]
    try:
        stores = open_stores(settings)
    except OSError as error:
        listener.close()
        return refuse(f"HIVEMIND_STATE: {settings.state}: {error.strerror or error}")

    def ready(monitor: Monitor) -> None:
        server.hub = monitor.hub
        log.info("monitor ready", url=f"http://{f'[{host}]' if ':' in host else host}:{port}", node=settings.node_id)

    guarded, _ = create_app(settings, stores, ready)
    server = Server(guarded)
    try:
        asyncio.run(server.serve(sockets=[listener]))
    finally:
        stores.close()
        listener.close()
    log.info("monitor stopped")
    return 0


def refuse(reason: str) -> int:
    """One line that names the culprit."""
    print(f"hivemind monitor: {reason}", file=sys.stderr)  # noqa: T201 - the console is who asked
    return EXIT_USAGE


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread that waits for a Redis which does not answer must not hold up the exit.
    os._exit(status)
