"""Fixtures on the real engine: a client of it, a worker's execution room, and an engine that can be cut off."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import httpx
import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.settings import Settings
from tests.browser import Page, chromium
from tests.processes import worker
from tests.serving import serving
from tests.site import Site

from .execution_kit import Kit, Proxy


@pytest.fixture
def engine(stores: Stores) -> Iterator[docker.DockerClient]:
    """A client of the machine's; a test that fails leaves no container of its site there."""
    client = docker.from_env()
    site = stores.ledger.site_id()
    yield client
    for left in client.api.containers(all=True, filters={"label": f"hivemind.site={site}"}):
        with contextlib.suppress(docker.errors.NotFound):
            try:
                client.api.remove_container(left["Id"], force=True)
            except docker.errors.APIError as error:
                if error.status_code != 409:  # its worker is removing it this very moment
                    raise
    client.close()


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


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def page(browser: Page, settings: Settings, site: Site) -> Iterator[Page]:
    """The browser's tab, on a monitor of this test's own, which shows the test file's `site`."""
    with serving(settings, site.stores) as client:
        browser.origin = str(client.base_url).rstrip("/")
        browser.complaints.clear()
        browser.requests.clear()
        browser.shape()
        yield browser
        browser.goto("about:blank")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Where a worker's words go."""
    return tmp_path / "worker.log"


@pytest.fixture
def running_worker(settings: Settings, stores: Stores, output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of the test's own node."""
    with worker(settings, stores, output) as child:
        yield child


@pytest.fixture
def site(stores: Stores) -> Site:
    """Moves jobs as a worker would."""
    return Site(stores)


@pytest.fixture
def api(settings: Settings, stores: Stores) -> Iterator[httpx.Client]:
    """A client of a status API on these stores."""
    with serving(settings, stores) as client:
        yield client
