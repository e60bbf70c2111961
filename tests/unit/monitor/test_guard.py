"""Who may come in: a web page on another site must not be able to read or steer the node."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from hivemind_worker.monitor.guard import Guard

guard = Guard(PlainTextResponse("in"), {"Node-7.example", "0.0.0.0"})


def refused(method: str = "GET", **headers: str) -> str | None:
    """The field that a refusal names; None: the call comes in."""
    refusal = guard.refusal(method, Headers({name.replace("_", "-"): value for name, value in headers.items()}))
    return refusal[3] if refusal else None


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:5000", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1", "a@b", "::1"],
)
def test_a_name_that_is_not_ours_is_refused_even_for_reading(host: str) -> None:
    assert refused(host=host) == "Host"


def test_a_call_without_a_host_or_with_two_is_refused() -> None:
    assert refused() == "Host"
    twice = Headers(raw=[(b"host", b"localhost"), (b"host", b"evil.example")])
    assert guard.refusal("GET", twice) is not None


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST:5000", "127.0.0.1:5000", "127.8.9.10", "[::1]:5000", "192.168.1.5:5000", "x.localhost",
        "node-7.example:5000", "NODE-7.example.", "0.0.0.0:5000",
    ],
)  # fmt: skip
def test_addresses_and_our_own_names_come_in(host: str) -> None:
    assert refused(host=host) is None


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:8000", "http://localhost", "http://127.0.0.1:5000"]
)
def test_a_change_asked_for_by_another_site_is_refused(origin: str) -> None:
    assert refused("POST", host="localhost:5000", origin=origin) == "Origin"
    assert refused("DELETE", host="localhost:5000", origin=origin) == "Origin"


def test_where_a_browser_hides_the_origin_its_other_hints_count() -> None:
    assert refused("POST", host="localhost:5000", referer="http://evil.example/x") == "Referer"
    assert refused("POST", host="localhost:5000", sec_fetch_site="cross-site") == "Sec-Fetch-Site"
    assert refused("POST", host="localhost:5000", sec_fetch_site="same-site") == "Sec-Fetch-Site"


def test_our_own_page_and_programs_may_ask_for_changes() -> None:
    assert refused("POST", host="localhost:5000", origin="http://localhost:5000", sec_fetch_site="same-origin") is None
    assert refused("POST", host="LocalHost:5000", referer="http://localhost:5000/dashboard") is None
    assert refused("POST", host="127.0.0.1:5000") is None


def test_reading_across_sites_is_left_to_the_browser_which_hides_the_answer() -> None:
    assert refused(host="localhost", origin="http://evil.example") is None


def answer(app: Guard, host: str) -> dict[str, str]:
    sent: list[Any] = []

    async def call() -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", host.encode())]}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)

    asyncio.run(call())
    return {name.decode(): value.decode() for name, value in sent[0]["headers"]}


@pytest.mark.parametrize("host", ["localhost", "evil.example"])
def test_every_answer_carries_the_security_headers_refusals_too(host: str) -> None:
    headers = answer(guard, host)
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert headers["date"].endswith("GMT")
