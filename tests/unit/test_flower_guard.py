"""Flower serves tools and its own page, and nobody else's page."""

from __future__ import annotations

import pytest

from hivemind_worker.flower import foreign

HERE = {"Host": "127.0.0.1:5555"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:5555"},
        {},
        HERE | {"Origin": "http://evil.example"},
        HERE | {"Origin": "null"},
        HERE | {"Origin": "http://127.0.0.1:8000"},
        HERE | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ],
)
def test_another_sites_page_is_refused(headers: dict[str, str]) -> None:
    assert foreign(headers, "127.0.0.1")


@pytest.mark.parametrize(
    "headers",
    [
        HERE,
        {"Host": "localhost:5555"},
        {"Host": "[::1]:5555"},
        {"Host": "node7:5555"},
        HERE | {"Origin": "http://127.0.0.1:5555", "Sec-Fetch-Site": "same-origin"},
        HERE | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_tools_its_own_page_and_a_followed_link_are_served(headers: dict[str, str]) -> None:
    assert foreign(headers, "node7") is None
