"""Fixtures of the execution tests: a worker's execution room on the real engine, and an engine that can be cut off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.settings import Settings

from .execution_kit import Kit, Proxy


@pytest.fixture
def kit(settings: Settings, stores: Stores) -> Iterator[Kit]:
    """A worker whose engine is the machine's."""
    made = Kit(settings, stores)
    yield made
    made.close()


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    """What stands between a worker and its engine."""
    made = Proxy(tmp_path / "p.sock")
    made.mend()
    yield made
    made.cut()


@pytest.fixture
def shaky(settings: Settings, stores: Stores, proxy: Proxy) -> Iterator[Kit]:
    """A worker whose engine can be cut off."""
    made = Kit(settings.model_copy(update={"docker_host": proxy.url}), stores)
    yield made
    proxy.cut()
    proxy.mend()
    made.close()
