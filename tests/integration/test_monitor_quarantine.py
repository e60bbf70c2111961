"""What was damaged and put aside is counted, listed and warned of."""

from __future__ import annotations

import httpx
import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.monitor.schemas import HealthView, Quarantine
from hivemind_worker.settings import Settings
from tests.serving import refused, serving
from tests.site import Site


@pytest.fixture
def damaged(stores: Stores) -> list[str]:
    """Two records that were put aside, in that order; where they are kept."""
    keys = stores.keys
    for name in ("a", "b"):
        Site(stores).submit(name)
        stores.redis.hset(keys.job(name), "spec", "{")
        assert stores.audit.put_aside(name, "its spec is cut off")
        stores.redis.zincrby(keys.quarantine, ord(name), keys.aside(keys.job(name)))  # in one millisecond they tie
    return [keys.aside(keys.job(name)) for name in ("a", "b")]


def test_nothing_was_put_aside_and_bad_limits_are_refused(settings: Settings, stores: Stores) -> None:
    with serving(settings, stores) as api:
        assert refused(api, "/api/quarantine?limit=0") == (400, "invalid", "limit")
        assert api.get("/api/quarantine").json() == {"count": 0, "things": []}
        assert not any("aside" in said for said in health(api).checks["redis"].warnings)


def test_what_was_put_aside_is_listed_newest_first_and_warned_of(
    settings: Settings, stores: Stores, damaged: list[str]
) -> None:
    with serving(settings, stores) as api:
        found = Quarantine.model_validate(api.get("/api/quarantine?limit=1").json())
        assert (found.count, [thing.key for thing in found.things]) == (2, damaged[1:])
        assert [thing.key for thing in Quarantine.model_validate(api.get("/api/quarantine").json()).things] == [
            *reversed(damaged)
        ]
        redis = health(api).checks["redis"]
        assert redis.status == "ok"
        assert "2 damaged things put aside" in redis.warnings
        assert "it keeps no append-only file: when it restarts, every job is forgotten" in redis.warnings


def health(api: httpx.Client) -> HealthView:
    return HealthView.model_validate(api.get("/health").json())
