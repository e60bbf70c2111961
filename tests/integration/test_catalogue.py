"""Lists that go on from Redis into the history without a seam, and what people see of jobs that only it knows."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from hypothesis import HealthCheck, example, given
from hypothesis import settings as how
from hypothesis import strategies as st

from bridge.client import Client
from hivemind_cli.commands.show import described
from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.job import Job, State, Times, job_of_view, view
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.monitor.schemas import Task, Tasks
from hivemind_worker.settings import Settings
from tests.builders import assignment, job, new_job
from tests.integration.bridge.conftest import bridge_settings, refused, running
from tests.integration.history_kit import ended, fresh_database
from tests.serving import serving
from tests.site import Site

_NUMBERS = count()
CAUSES = {"completed": Cause.OK, "failed": Cause.EXIT}


def in_redis(stores: Stores, made: Job) -> None:
    """Put a job there as it is, whenever it was created."""
    task_id, created = made.task_id, made.times.created
    stores.jobs.create(new_job(task_id, owner=made.assignment.owner))
    changed: dict[str, Any] = {"state": made.state.value, "created": created}
    if made.outcome is not None:
        changed |= {"outcome": made.outcome.model_dump_json(), "finished": created + 1}
    stores.redis.hset(stores.keys.job(task_id), mapping=changed)
    stores.redis.zadd(stores.keys.index, {task_id: created})


@pytest.fixture(params=["sqlite", "postgresql"])
def own(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    """A node with a history of each kind."""
    if request.param == "sqlite":
        return settings
    url = fresh_database(request.getfixturevalue("postgres"))
    return settings.model_copy(update={"history_url": type(settings.redis_url)(url)})  # type: ignore[misc]


JOBS = st.lists(
    st.tuples(
        st.integers(min_value=1, max_value=4),  # when it was created: often the same moment
        st.sampled_from(["redis", "both", "history", "active"]),
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(sorted(CAUSES)),
    ),
    min_size=3,
    max_size=14,
)


@how(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    jobs=JOBS, owner=st.sampled_from([None, "ann"]), state=st.sampled_from([None, *map(State, CAUSES)]),
    limit=st.integers(min_value=1, max_value=4), forgets=st.lists(st.integers(min_value=0, max_value=13)),
)  # fmt: skip
@example(jobs=[(i, "history", "ann", "completed") for i in (1, 2, 3)], owner=None, state=None, limit=1, forgets=[])
@example(jobs=[(1, "both", "ann", "failed"), (1, "history", "ann", "failed")] * 2, owner="ann", state=State.FAILED,
         limit=1, forgets=[0, 0, 1])  # fmt: skip
def test_pages_hold_every_job_once_in_order_while_redis_forgets_in_between(
    own: Settings, jobs: list[Any], owner: str | None, state: State | None, limit: int, forgets: list[int]
) -> None:
    stores = open_stores(own.model_copy(update={"namespace": f"t{next(_NUMBERS)}"}))
    stores.history.database().prepare()
    wanted, both = [], []
    for number, (created, where, of, end) in enumerate(jobs):
        task_id = f"j{number:02}"
        made = ended(task_id, created, CAUSES[end], owner=of)
        if where == "active":
            made = job(task_id, assignment=assignment(task_id, owner=of), times=Times(created=created))
        if where != "history":
            in_redis(stores, made)
        if where in ("both", "history"):
            stores.history.database().write([made])
        if where == "both":
            both.append(task_id)
        if owner in (None, of) and state in (None, made.state):
            wanted.append((created, task_id))
    seen: list[tuple[int, str]] = []
    cursor = ""
    while True:
        page = stores.catalogue.list(state=state, owner=owner, limit=limit, cursor=cursor)
        assert not page.note
        assert len(page.jobs) <= limit
        seen += [(found.times.created, found.task_id) for found in page.jobs]
        for pick in forgets[:2]:
            if both:
                stores.redis.delete(stores.keys.job(both.pop(pick % len(both))))
        forgets = forgets[2:]
        if not (cursor := page.next):
            break
    stores.close()
    assert seen == sorted(wanted, reverse=True)


def test_a_view_reads_back_as_the_job_it_shows() -> None:
    made = ended("a", cause=Cause.OOM, owner="ann")
    again = job_of_view(view(made))
    assert view(again) == view(made)
    waiting = job("b")
    assert view(job_of_view(view(waiting))) == view(waiting)


def test_a_view_of_another_release_reads_with_what_both_know() -> None:
    shown = view(ended("a"))
    del shown["attempts"], shown["archived"], shown["retries"]
    shown |= {"from_the_future": 1, "usage": shown["usage"] | {"joules": 5}}
    assert job_of_view(shown).state is State.COMPLETED


@pytest.mark.parametrize("nonsense", [{}, {"state": "x"}, [], None, "x", view(job()) | {"times": {}}])
def test_what_is_no_view_is_refused(nonsense: Any) -> None:
    with pytest.raises(ValueError):
        job_of_view(nonsense)


# --- what people see --------------------------------------------------------------------------------------------


@pytest.fixture
def archive(stores: Stores, tmp_path: Path) -> Stores:
    """Two jobs that only the history knows, one with an artifact that is still kept, and one that runs."""
    site = Site(stores)
    site.announce()
    site.start("today")
    ref = site.artifact(tmp_path, b"zip")
    days = 86_400_000
    now = stores.ledger.now_ms()
    kept = ended("kept", created=now - 20 * days, owner="ann")
    outcome = Outcome(cause=Cause.OK, exit_code=0, artifact=ref)
    stores.history.database().prepare()
    stores.history.database().write(
        [kept.model_copy(update={"outcome": outcome}), ended("gone", created=now - 30 * days, cause=Cause.EXIT)]
    )
    return stores


@pytest.fixture
def api(settings: Settings, archive: Stores) -> Iterator[httpx.Client]:
    with serving(settings, archive) as client:
        yield client


@pytest.fixture
def bridge(settings: Settings, archive: Stores) -> Iterator[Client]:
    with running(archive, bridge_settings(settings)) as address, Client(address) as client:
        yield client


def test_the_api_goes_on_into_the_history(api: httpx.Client) -> None:
    body = api.get("/api/tasks").json()
    Tasks.model_validate(body)
    assert [task["task_id"] for task in body["tasks"]] == ["today", "kept", "gone"]
    assert [task["archived"] for task in body["tasks"]] == [None, {"artifact_kept": None}, {"artifact_kept": None}]
    assert [t["task_id"] for t in api.get("/api/tasks?owner=ann&state=completed").json()["tasks"]] == ["kept"]
    assert [t["task_id"] for t in api.get("/api/tasks?active=1").json()["tasks"]] == ["today"]
    first = api.get("/api/tasks?limit=2").json()
    assert [t["task_id"] for t in api.get(f"/api/tasks?limit=2&cursor={first['next']}").json()["tasks"]] == ["gone"]
    kept, gone = api.get("/api/tasks/kept").json(), api.get("/api/tasks/gone").json()
    Task.model_validate(kept)
    assert (kept["archived"], gone["archived"]) == ({"artifact_kept": True}, {"artifact_kept": False})
    assert api.get("/api/tasks/kept/artifact").content == b"zip"
    for path in ("/api/tasks/gone/artifact", "/api/tasks/gone/logs", "/api/tasks/nobody"):
        assert api.get(path).status_code == 404
    stopped = api.post("/api/tasks/kept/stop")
    assert (stopped.status_code, stopped.json()["error"]["code"]) == (409, "ended")


def test_the_bridge_goes_on_into_the_history(bridge: Client) -> None:
    assert [task["task_id"] for task in bridge.list()["tasks"]] == ["today", "kept", "gone"]
    assert bridge.list()["note"] == ""
    assert bridge.get("gone")["archived"] == {"artifact_kept": False}
    assert [task["state"] for task in bridge.watch("kept")] == ["completed"]
    assert bridge.cancel("kept") == {"task_id": "kept", "state": "completed", "accepted": False}
    with refused("NOT_FOUND", says="log of job gone is gone"):
        list(bridge.logs("gone"))
    with refused("NOT_FOUND", says="nobody"):
        bridge.get("nobody")


def test_a_person_is_told_that_the_log_is_gone_and_whether_the_artifact_is(bridge: Client) -> None:
    kept, gone = (dict(described(bridge.get(task_id))) for task_id in ("kept", "gone"))
    assert kept["log"] == gone["log"] == "gone; only the history knows this job"
    assert "no longer kept" not in kept["artifact"]
    assert gone["artifact"].endswith("(no longer kept)")


def test_a_history_that_is_away_costs_its_own_jobs_only(
    settings: Settings, archive: Stores, client: redis.Redis
) -> None:
    archive.history.close()
    file = Path(settings.history.removeprefix("sqlite:///"))
    for leftover in file.parent.iterdir():
        leftover.unlink()
    file.write_bytes(b"no database" * 1000)
    with serving(settings, archive) as api:
        body = api.get("/api/tasks").json()
        assert [task["task_id"] for task in body["tasks"]] == ["today"]
        assert body["note"].startswith("older jobs are missing: the history does not answer")
        assert api.get("/api/tasks/today").json()["state"] == "running"
        missing = api.get("/api/tasks/kept")
        assert (missing.status_code, missing.json()["error"]["code"]) == (503, "history_away")
        health = api.get("/health").json()
        assert health["checks"]["history"]["status"] == "degraded"
    with running(archive, bridge_settings(settings)) as address, Client(address) as bridge:
        assert bridge.list()["note"] == body["note"]
        with refused("UNAVAILABLE", says="the history does not answer"):
            bridge.get("kept")


def test_the_outboxes_are_on_the_metrics_page(settings: Settings, archive: Stores) -> None:
    joined = settings.model_copy(update={"master_address": "127.0.0.1:1"})
    with serving(joined, archive) as api:
        page = api.get("/metrics").text
    for line in (
        'hivemind_outbox_lag_entries{outbox="history"} 0.0', 'hivemind_outbox_lag_seconds{outbox="reports"} 0.0',
        'hivemind_outbox_led{outbox="reports"} 0.0', 'hivemind_outbox_refused_total{outbox="history"} 0.0',
    ):  # fmt: skip
        assert line in page
