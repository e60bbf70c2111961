"""Where owners have weights, what is shown of the line goes by their turns: places, ETAs and metrics."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hivemind_worker.admission.explain import Explainer
from hivemind_worker.admission.outlook import FRONT
from hivemind_worker.admission.rules import Rules
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.line import Promise
from hivemind_worker.settings import Settings
from tests.builders import new_job, request
from tests.serving import serving
from tests.site import Site

WEIGHTS = {"ann": 1.0, "bob": 3.0}


@pytest.fixture
def site(stores: Stores) -> Site:
    made = Site(stores)
    made.announce(millicores=1000)
    made.start("runs", deadline=stores.ledger.now_ms() + 60_000)
    return made


def crowd(stores: Stores, owner: str, number: int) -> list[str]:
    """Waiting jobs of an owner; each is as large as the node."""
    names = [f"{owner}{each:03}" for each in range(number)]
    stores.jobs.create_many([new_job(name, owner=owner, timeout_seconds=10.0) for name in names])
    return names


def shown(stores: Stores, *task_ids: str) -> dict[str, dict[str, Any]]:
    jobs = [stores.jobs.get(task_id) for task_id in task_ids]
    views = Explainer(stores.jobs, stores.ledger, Rules(weights=WEIGHTS)).views(jobs)
    return {view["task_id"]: view["waiting"] for view in views}


def test_a_place_is_the_turn_and_the_later_place_the_later_start(stores: Stores, site: Site) -> None:
    crowd(stores, "ann", 40)
    names = crowd(stores, "bob", 3)
    found = shown(stores, *names)
    assert [found[name]["position"] for name in names] == [1, 3, 4]
    assert found["bob000"]["eta_seconds"] < found["bob001"]["eta_seconds"] < found["bob002"]["eta_seconds"]


def test_what_an_owner_holds_now_puts_it_back_no_longer_than_that_runs(stores: Stores, site: Site) -> None:
    site.end(stores.jobs.get("runs"))
    site.start("held", owner="ann", deadline=stores.ledger.now_ms() + 60_000)
    names = [*crowd(stores, "ann", 4), *crowd(stores, "bob", 4)]
    found = shown(stores, *names)
    order = sorted(names, key=lambda name: found[name]["position"])
    assert [found[name]["position"] for name in order] == list(range(1, 9))
    etas = [found[name]["eta_seconds"] for name in order]
    assert etas == sorted(etas)


def test_behind_the_front_no_place_is_made_up_and_the_eta_goes_on_as_the_owners_turns(
    stores: Stores, site: Site
) -> None:
    ann, bob = crowd(stores, "ann", FRONT), crowd(stores, "bob", FRONT)
    found = shown(stores, bob[0], bob[49], ann[10], bob[-1], ann[-1])
    assert found[bob[0]]["position"] == 1
    assert 60 <= found[bob[49]]["position"] <= 70
    assert (found[bob[-1]]["position"], found[ann[-1]]["position"]) == (None, None)
    etas = [found[name]["eta_seconds"] for name in (ann[10], bob[49], bob[-1], ann[-1])]
    assert etas == sorted(etas)
    assert etas[2] == pytest.approx(2 * etas[1], rel=0.1)


def test_who_has_the_promise_is_first_however_deep_in_its_owners_part_it_stands(stores: Stores, site: Site) -> None:
    ann = crowd(stores, "ann", FRONT + 50)
    crowd(stores, "bob", 50)
    stores.ledger.note_promise(None, Promise(ann[-1], "n1", stores.ledger.now_ms() + 120_000))
    found = shown(stores, ann[-1], "bob000")
    assert (found[ann[-1]]["position"], found["bob000"]["position"]) == (1, 2)
    assert found[ann[-1]]["eta_seconds"] <= 120


def test_metrics_know_the_head_and_when_it_starts(stores: Stores, settings: Settings, site: Site) -> None:
    crowd(stores, "ann", 2 * FRONT)
    site.submit("bob", owner="bob", requests=request(cpu=1.0))
    waiting = shown(stores, "bob")["bob"]
    assert waiting["kind"] == "head"
    with serving(settings.model_copy(update={"weights": WEIGHTS}), stores) as client:
        families = text_string_to_metric_families(client.get("/metrics").text)
        found = {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}
    assert found["hivemind_waiting_jobs", "head"] == 1
    assert found["hivemind_waiting_eta_seconds", "head"] == pytest.approx(waiting["eta_seconds"], abs=5)
    assert found["hivemind_waiting_eta_seconds", "max"] > 10 * FRONT
    reasons = {key[1]: value for key, value in found.items() if key[0] == "hivemind_waiting_jobs"}
    assert (sum(reasons.values()), reasons["resting"]) == (2 * FRONT + 1, 0)
