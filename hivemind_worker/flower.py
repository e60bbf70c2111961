"""Flower with its buttons working and its door shut to other web pages: `python -m hivemind_worker.flower`.

Flower answers its own API, and so its buttons, only to an authenticated caller or when told to trust everybody; and
then it also lets every web page in a browser on this machine call it. Like the rest of the node, ours trusts whoever
reaches its loopback address, but no page of another site: a request whose Host is not one of our names (DNS rebinding)
or whose Origin is another site is refused before Flower sees it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from hivemind_worker.domain.errors import SettingsError
from hivemind_worker.settings import is_loopback, load_settings


def foreign(headers: Mapping[str, str], own_host: str) -> str | None:
    """Why a request comes from another site; None when it does not. Pure.

    Tools send no Origin; browsers send it with every cross-site call that could read or change something.
    """
    host = urlsplit(f"//{headers.get('Host', '')}").hostname or ""
    if not (is_loopback(host) or host == own_host):
        return f"{host!r} is not a name of this node"
    if headers.get("Sec-Fetch-Site") == "cross-site" and headers.get("Sec-Fetch-Mode") != "navigate":
        return "the request comes from another site's page"
    origin = headers.get("Origin")
    if origin and urlsplit(origin).netloc != headers.get("Host"):
        return f"the request comes from {origin}"
    return None


def guarded(application: type) -> type:
    """Flower's application with the guard in front of its routes."""
    from tornado.web import ErrorHandler

    class Guarded(application):  # type: ignore[misc]
        own_host = ""

        def find_handler(self, request: Any, **kwargs: Any) -> Any:
            if foreign(request.headers, self.own_host):
                return self.get_handler_delegate(request, ErrorHandler, {"status_code": 403})
            return super().find_handler(request, **kwargs)

    return Guarded


def main() -> None:
    """Run Flower at the place the settings name."""
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"hivemind: {error}\n")
        sys.exit(2)
    import flower.command

    if "FLOWER_BASIC_AUTH" not in os.environ:
        os.environ.setdefault("FLOWER_UNAUTHENTICATED_API", "true")
    flower.command.Flower = guarded(flower.command.Flower)
    flower.command.Flower.own_host = settings.flower_host
    from hivemind_worker.celery import app

    place = [f"--address={settings.flower_host}", f"--port={settings.flower_port}"]
    app.start(["flower", *place, *sys.argv[1:]])


if __name__ == "__main__":
    main()
