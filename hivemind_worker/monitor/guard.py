"""The door: which Host and Origin may come in, and the security headers that every answer carries.

A page on another site can make a browser call a loopback port. Two rules keep it out: the Host must be an address or
one of our own names (a rebound DNS name is neither), and a call that changes something must not come from elsewhere.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from email.utils import formatdate
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hivemind_worker.monitor.errors import error_response

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """Wraps the whole application, its own error answers included."""

    def __init__(self, app: ASGIApp, names: Iterable[str]) -> None:
        self.app = app
        self._names = frozenset(name.lower().rstrip(".") for name in names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers["date"] = formatdate(usegmt=True)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self.refusal(scope["method"], Headers(scope=scope))
        if refusal is None:
            await self.app(scope, receive, dressed)
        else:
            await error_response(*refusal)(scope, receive, dressed)

    def refusal(self, method: str, headers: Headers) -> tuple[int, str, str, str | None] | None:
        """Status, code, message and field of the answer to a call that may not come in; None: it may."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return 400, "invalid", "this node does not answer to that name; use its address or its host name", "Host"
        if method in SAFE_METHODS:
            return None
        for name in ("origin", "referer"):
            if name in headers:
                same = urlsplit(headers[name]).netloc.lower() == hosts[0].lower()
                return None if same else (403, "forbidden", "the call comes from another site", name.capitalize())
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return 403, "forbidden", "the call comes from another site", "Sec-Fetch-Site"
        return None

    def _is_ours(self, host: str) -> bool:
        """An IP address cannot be rebound; a name must be one that we know."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if name in self._names or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True
