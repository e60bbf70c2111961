"""The status API over real stores and a real socket: what it answers, and what it refuses."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.monitor.schemas import (
    Prioritized,
    Stopped,
    Tasks,
)
from hivemind_worker.settings import Settings
from tests.builders import request
from tests.serving import refused, serving
from tests.site import Site

# --- refusals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/api/tasks?state=sleeping", "state"),
        ("/api/tasks?limit=0", "limit"),
        ("/api/tasks?limit=1001", "limit"),
        ("/api/tasks?limit=x", "limit"),
        ("/api/tasks?cursor=x", "cursor"),
        ("/api/tasks/-x", "task_id"),
        ("/api/tasks/%00", "task_id"),
        ("/api/tasks/" + "x" * 65, "task_id"),
        ("/api/tasks/t1/logs?from=-1", "from"),
        ("/api/tasks/t1/logs?encoding=utf7", "encoding"),
        ("/api/events/recent?limit=0", "limit"),
        ("/tasks/-x", "task_id"),
    ],
)
def test_a_bad_parameter_is_named(api: httpx.Client, path: str, field: str) -> None:
    assert refused(api, path) == (400, "invalid", field)


@pytest.mark.parametrize("grace", ["-1", "nan", "inf", "3601", "soon"])
def test_a_stop_with_a_bad_grace_is_refused_and_stops_nothing(api: httpx.Client, site: Site, grace: str) -> None:
    site.submit()
    assert refused(api, f"/api/tasks/t1/stop?grace={grace}", "POST") == (400, "invalid", "grace")
    assert api.get("/api/tasks/t1").json()["state"] == "waiting"


@pytest.mark.parametrize("path", ["/api/tasks/gone", "/api/tasks/gone/logs", "/api/tasks/gone/logs?follow=1", "/nope"])
def test_what_is_not_there_is_not_found(api: httpx.Client, path: str) -> None:
    assert refused(api, path) == (404, "not_found", None)


@pytest.mark.parametrize("path", ["/api/tasks/gone/stop", "/api/stop_task/gone", "/api/nodes/gone/drain"])
def test_what_is_not_there_cannot_be_stopped_or_drained(api: httpx.Client, path: str) -> None:
    assert refused(api, path, "POST") == (404, "not_found", None)


def test_a_wrong_method_is_told_so(api: httpx.Client) -> None:
    assert refused(api, "/api/tasks", "POST") == (405, "method", None)
    assert refused(api, "/api/tasks/t1/stop") == (405, "method", None)


@pytest.mark.parametrize(
    "path",
    [
        "/api/tasks/t1/stop",
        "/api/stop_task/t1",
        "/api/tasks/t1/priority?priority=9",
        "/api/nodes/n1/drain",
        "/api/nodes/n1/resume",
    ],
)
def test_a_web_page_elsewhere_can_stop_and_drain_nothing(api: httpx.Client, site: Site, path: str) -> None:
    site.announce()
    site.submit()
    assert refused(api, path, "POST", Origin="http://evil.example") == (403, "forbidden", "Origin")
    assert refused(api, path, "POST", Host="evil.example") == (400, "invalid", "Host")
    assert api.get("/api/tasks/t1").json()["state"] == "waiting"
    assert api.get("/api/nodes").json()["nodes"][0]["state"] == "up"


def test_a_rebound_name_reads_nothing(api: httpx.Client) -> None:
    assert refused(api, "/api/tasks", Host="rebound.example:5000") == (400, "invalid", "Host")
    assert refused(api, "/dashboard", Host="rebound.example:5000") == (400, "invalid", "Host")


def test_an_unforeseen_fault_shows_nothing_of_our_inside(settings: Settings, stores: Stores) -> None:
    def broken() -> None:
        raise RuntimeError("secret detail")

    def extend(app: FastAPI) -> None:
        app.get("/broken")(broken)

    with serving(settings, stores, extend) as api:
        response = api.get("/broken")
    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal")
    assert "secret" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"


# --- jobs ---------------------------------------------------------------------------------------------------


def test_jobs_are_listed_newest_first_page_by_page(api: httpx.Client, site: Site) -> None:
    for number in range(5):
        site.submit(f"t{number}")
    first = api.get("/api/tasks?limit=3").json()
    second = api.get("/api/tasks", params={"limit": 3, "cursor": first["next"]}).json()
    Tasks.model_validate(first)
    listed = [task["task_id"] for task in first["tasks"] + second["tasks"]]
    assert sorted(listed) == [f"t{number}" for number in range(5)]
    assert listed == sorted(listed, key=lambda i: (site.stores.jobs.get(i).times.created, i), reverse=True)
    assert second["next"] == ""


def test_jobs_are_filtered_by_state_owner_and_reservation(api: httpx.Client, site: Site) -> None:
    site.announce()
    site.submit("waits", owner="ada")
    site.start("runs", owner="grace")
    site.end(site.start("ended", owner="ada"), Cause.OOM)

    def ids(query: str) -> list[str]:
        return [task["task_id"] for task in api.get(f"/api/tasks?{query}").json()["tasks"]]

    assert ids("state=waiting") == ["waits"]
    assert ids("state=running") == ["runs"]
    assert ids("state=failed") == ["ended"]
    assert ids("held=true") == ["runs"]
    assert ids("held=true&owner=ada") == []
    assert sorted(ids("owner=ada")) == ["ended", "waits"]
    assert sorted(ids("active=true")) == ["runs", "waits"]


def test_a_waiting_job_says_why_it_waits(api: httpx.Client, site: Site) -> None:
    site.announce()
    site.submit("big", requests=request(cpu=400))
    waiting = api.get("/api/tasks/big").json()["waiting"]
    assert waiting["position"] == 1
    assert "396 cores" in waiting["reason"]


def test_a_waiting_job_is_stopped_at_once_and_only_once(api: httpx.Client, site: Site) -> None:
    site.submit()
    stopped = api.post("/api/tasks/t1/stop").json()
    assert Stopped.model_validate(stopped).state == "stopped"
    assert refused(api, "/api/tasks/t1/stop", "POST") == (409, "ended", None)
    assert api.get("/api/tasks/t1").json()["cause"] == "cancelled"


def test_a_waiting_job_gets_another_priority_and_one_that_started_does_not(api: httpx.Client, site: Site) -> None:
    site.announce()
    site.submit("waits")
    site.start("runs")
    changed = api.post("/api/tasks/waits/priority?priority=8").json()
    assert Prioritized.model_validate(changed).priority == 8
    assert api.get("/api/tasks/waits").json()["priority"] == 8
    assert refused(api, "/api/tasks/runs/priority?priority=8", "POST") == (409, "started", None)
    assert refused(api, "/api/tasks/waits/priority?priority=10", "POST") == (400, "invalid", "priority")
    assert refused(api, "/api/tasks/gone/priority?priority=1", "POST") == (404, "not_found", None)


def test_a_running_job_is_asked_to_stop_under_the_older_name_too(api: httpx.Client, site: Site) -> None:
    site.announce()
    site.start()
    assert api.post("/api/stop_task/t1?grace=2.5").json() == {"task_id": "t1", "state": "running", "accepted": True}
    assert site.stores.jobs.get("t1").stop_grace == 2.5


def test_our_own_page_may_stop_a_job(api: httpx.Client, site: Site) -> None:
    site.submit()
    headers = {"Origin": str(api.base_url).rstrip("/"), "Sec-Fetch-Site": "same-origin"}
    assert api.post("/api/tasks/t1/stop", headers=headers).status_code == 200


# --- pages and the description of it all ---------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/dashboard", "/tasks", "/tasks/t1", "/monitor"])
def test_pages_come_in_the_readers_language(api: httpx.Client, path: str) -> None:
    english, german = api.get(path), api.get(path, headers={"Accept-Language": "de-CH, en;q=0.7"})
    assert (english.headers["content-language"], german.headers["content-language"]) == ("en", "de")
    assert '<html lang="de">' in german.text
    assert english.headers["vary"] == "Accept-Language"
    assert api.get("/", follow_redirects=False).headers["location"] == "/dashboard"


def test_static_files_are_asked_for_anew_and_not_sent_again(api: httpx.Client) -> None:
    first = api.get("/static/dashboard.js")
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["content-type"].startswith("text/javascript")
    assert api.get("/static/dashboard.js", headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    assert refused(api, "/static/../app.py")[0] == 404
    assert refused(api, "/static/%2e%2e/app.py")[0] == 404


def test_openapi_describes_every_route_of_the_contract(api: httpx.Client) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    promised = {
        "/health": "get", "/metrics": "get", "/api/status": "get", "/api/tasks": "get", "/api/tasks/{task_id}": "get",
        "/api/tasks/{task_id}/logs": "get", "/api/tasks/{task_id}/artifact": "get", "/api/tasks/{task_id}/stop": "post",
        "/api/stop_task/{task_id}": "post", "/api/resources": "get", "/api/nodes": "get",
        "/api/nodes/{node}/drain": "post", "/api/nodes/{node}/resume": "post", "/api/events": "get",
    }  # fmt: skip
    for path, method in promised.items():
        assert paths[path][method]["responses"]["200"], path
    assert api.get("/docs").status_code == 404
