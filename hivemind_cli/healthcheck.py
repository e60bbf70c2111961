"""`python -m hivemind_cli.healthcheck redis|bridge|worker|api|flower`: exit 0 when it is well, else 1 and one line.

For container engines and service managers. Reads the settings of the process it stands beside.
"""

from __future__ import annotations

import argparse
import sys
from urllib.parse import urlsplit

from hivemind_cli.probes import NotReady, grpc_serving, http_get, http_ok, redis_ping
from hivemind_worker.domain.errors import HiveMindError
from hivemind_worker.settings import Settings, load_settings


def check(service: str, settings: Settings) -> None:
    """Raises NotReady, HiveMindError."""
    if service == "redis":
        _redis(settings)
    elif service == "bridge":
        grpc_serving((settings.bridge_host, settings.bridge_port))
    elif service == "worker":
        _worker(settings)
    elif service == "api":
        status, _ = http_get((settings.api_host, settings.api_port), "/health")
        if status not in (200, 503):  # 503: it answers, and says that something else is not well
            raise NotReady(f"/health answered {status}")
    else:
        http_ok((settings.flower_host, settings.flower_port), "/healthcheck")


def _redis(settings: Settings) -> None:
    url = urlsplit(settings.redis)
    if url.scheme == "unix":
        redis_ping(url.path)
    elif url.scheme == "redis" and url.password is None:
        redis_ping((url.hostname or "127.0.0.1", url.port or 6379))
    else:
        _ping_with_client(settings)


def _ping_with_client(settings: Settings) -> None:
    from hivemind_worker.store.connection import connect, named_faults

    client = connect(settings.redis, timeout=2.0)
    try:
        with named_faults():
            client.ping()
    finally:
        client.close()


def _worker(settings: Settings) -> None:
    """Its node has a worker whose lease lives."""
    from hivemind_worker.store.connection import connect
    from hivemind_worker.store.keys import Keys
    from hivemind_worker.store.ledger import Ledger

    client = connect(settings.redis, timeout=2.0)
    try:
        ledger = Ledger(client, Keys(settings.namespace), heartbeat_timeout=settings.heartbeat_timeout)
        if not ledger.node(settings.node_id).workers:
            raise NotReady(f"no worker of node {settings.node_id} has a live lease")
    finally:
        client.close()


def main() -> None:
    """Exit 0 or 1."""
    parser = argparse.ArgumentParser(prog="python -m hivemind_cli.healthcheck")
    parser.add_argument("service", choices=["redis", "bridge", "worker", "api", "flower"])
    service = parser.parse_args().service
    try:
        check(service, load_settings())
    except (NotReady, HiveMindError) as error:
        sys.exit(f"{service}: {error}")


if __name__ == "__main__":
    main()
