"""What `hivemind` says and does when the bridge, or its Redis, goes away while it follows a job."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.settings import Settings
from tests.integration.bridge.conftest import OwnRedis, bridge_settings, running
from tests.nodes import HIVEMIND, expect, finish
from tests.processes import REPOSITORY
from tests.site import Site


@contextlib.contextmanager
def hivemind(address: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """A command with all it says in one pipe."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HIVEMIND_")}
    env = clean | {"HIVEMIND_BRIDGE": address, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [*HIVEMIND, *args], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def test_a_bridge_that_stays_away_is_said_and_given_up_when_patience_is_at_its_end(
    stores: Stores, settings: Settings, site: Site
) -> None:
    site.announce()
    site.start()
    site.write("t1", b"one\n")
    with contextlib.ExitStack() as kept:
        with running(stores, bridge_settings(settings)) as address:
            child = kept.enter_context(hivemind(address, "logs", "-f", "--patience", "5s", "t1"))
            expect(child, "one")
        code, rest = finish(child)
    assert code == 1
    away, error = rest.splitlines()
    assert away == f"hivemind: the bridge at {address} is away; trying again for 5.0s"
    assert error.startswith(f"error: no bridge answers at {address}")


@pytest.mark.parametrize(
    ("command", "begins", "ends"),
    [(["logs", "-f", "t1"], "one", "two\n"), (["wait", "t0", "t1"], "t0 completed", "t1 completed\n")],
    ids=["logs", "wait"],
)
def test_without_a_bound_it_says_so_waits_and_goes_on_where_it_was(
    stores: Stores, settings: Settings, site: Site, command: list[str], begins: str, ends: str
) -> None:
    site.announce()
    site.end(site.start("t0"))
    job = site.start()
    site.write("t1", b"one\n")
    with contextlib.ExitStack() as kept:
        with running(stores, bridge_settings(settings)) as address:
            child = kept.enter_context(hivemind(address, *command))
            expect(child, begins)
        assert expect(child, "trying again") == f"hivemind: the bridge at {address} is away; trying again\n"
        with running(stores, bridge_settings(settings, bridge_port=int(address.rpartition(":")[2]))):
            expect(child, f"hivemind: the bridge at {address} answers again")
            site.write("t1", b"two\n", first=2)
            site.end(job)
            code, rest = finish(child)
    assert (code, rest) == (0, ends)


def test_a_redis_that_stays_away_is_said_with_its_name_and_bounded_too(
    own_redis: OwnRedis, own_stores: tuple[Stores, Settings]
) -> None:
    stores, settings = own_stores
    site = Site(stores)
    site.announce()
    site.start()
    site.write("t1", b"one\n")
    with running(stores, settings) as address, hivemind(address, "logs", "-f", "--patience", "6s", "t1") as child:
        expect(child, "one")
        own_redis.stop()
        code, rest = finish(child)
        assert code == 1
        said = [line for line in rest.splitlines() if line.startswith("hivemind: ")]
        assert len(said) == 1, rest
        assert f"the bridge at {address} cannot serve this now: " in said[0]
        assert said[0].endswith("trying again for 6.0s")
        own_redis.start()
