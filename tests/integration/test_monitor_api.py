"""The status API over real stores and a real socket: what it answers, and what it refuses."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from hivemind_worker.admission.outlook import FRONT
from hivemind_worker.admission.summary import REASONS
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.node import Gpu
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.domain.resources import GIB
from hivemind_worker.monitor.schemas import (
    Changes,
    HealthView,
    Nodes,
    Prioritized,
    Resources,
    StatusView,
    Stopped,
    Tasks,
)
from hivemind_worker.settings import Settings
from tests.builders import request
from tests.integration.history_kit import recording, status
from tests.processes import eventually
from tests.serving import refused, serving
from tests.site import Site


@pytest.fixture
def site(stores: Stores) -> Site:
    return Site(stores)


@pytest.fixture
def api(settings: Settings, stores: Stores) -> Iterator[httpx.Client]:
    with serving(settings, stores) as client:
        yield client


@pytest.fixture
def unused_port() -> Iterator[int]:
    """Bound, so that nobody else takes it, and not listening."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def listening_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


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


# --- nodes, metrics, health ---------------------------------------------------------------------------------


def test_a_node_is_drained_and_resumed(api: httpx.Client, site: Site) -> None:
    site.announce()
    assert api.post("/api/nodes/n1/drain").json()["state"] == "draining"
    Nodes.model_validate(api.get("/api/nodes").json())
    assert api.get("/api/status").json()["state"] == "draining"
    assert api.post("/api/nodes/n1/resume").json()["state"] == "up"


def test_status_and_resources_of_a_site_that_nobody_joined_yet(api: httpx.Client) -> None:
    status = StatusView.model_validate(api.get("/api/status").json())
    assert (status.state, status.nodes) == ("down", 0)
    assert Resources.model_validate(api.get("/api/resources").json()).nodes == []


def test_resources_add_up(api: httpx.Client, site: Site) -> None:
    site.announce()
    site.start(requests=request(cpu=1.5))
    resources = Resources.model_validate(api.get("/api/resources").json())
    assert (resources.allocatable.cpu, resources.reserved.cpu, resources.free.cpu) == (4.0, 1.5, 2.5)
    assert StatusView.model_validate(api.get("/api/status").json()).running == 1


def samples(api: httpx.Client) -> dict[str, float]:
    text = api.get("/metrics").text
    return {
        f"{s.name}{sorted(s.labels.items())}" if s.labels else s.name: s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_metrics_come_from_the_stores_and_count_each_end_once(api: httpx.Client, site: Site) -> None:
    site.announce()
    site.end(site.start("a"))
    site.end(site.start("b"), Cause.OOM)
    site.start("c")
    site.submit("d")
    for _ in range(2):
        found = samples(api)
        assert found["hivemind_redis_up"] == 1
        assert found["hivemind_jobs_waiting"] == 1
        assert found["hivemind_jobs[('state', 'running')]"] == 1
        assert found["hivemind_jobs_finished_total[('cause', 'ok'), ('fault', 'none')]"] == 1
        assert found["hivemind_jobs_finished_total[('cause', 'oom'), ('fault', 'user')]"] == 1
        assert found["hivemind_job_run_seconds_count"] == 2
        assert found["hivemind_node_reserved[('node', 'n1'), ('resource', 'cpu')]"] == 1.0
        assert found["hivemind_node_allocatable[('node', 'n1'), ('resource', 'cpu')]"] == 4.0
        assert found["hivemind_node_state[('node', 'n1'), ('state', 'up')]"] == 1


def test_metrics_of_devices_say_which_is_ill_cordoned_and_held(api: httpx.Client, site: Site) -> None:
    ill = Gpu(uuid="GPU-a", name="x", memory=8 * GIB, reserved=GIB, trouble="it has fallen off the bus")
    site.announce(gpus=(ill, Gpu(uuid="GPU-b", name="x", memory=16 * GIB, index=1)))
    api.post("/api/nodes/n1/gpus/1/cordon")
    found = samples(api)

    def said(name: str) -> list[float]:
        labels = ["('gpu', '0'), ('node', 'n1'), ('uuid', 'GPU-a')", "('gpu', '1'), ('node', 'n1'), ('uuid', 'GPU-b')"]
        return [found[f"hivemind_gpu_{name}[{of}]"] for of in labels]

    assert (said("healthy"), said("cordoned"), said("jobs")) == ([0, 1], [0, 1], [0, 0])
    assert (said("lendable_bytes"), said("held_bytes")) == ([7 * GIB, 16 * GIB], [0, 0])
    assert found["hivemind_node_gpus_available[('node', 'n1')]"] == 1
    site.stores.redis.hset(site.stores.keys.node("n1"), "gpu_trouble", "the NVIDIA driver does not answer")
    assert samples(api)["hivemind_node_gpus_available[('node', 'n1')]"] == 0


def test_health_is_degraded_by_a_device_that_is_ill_and_by_a_dead_driver(api: httpx.Client, site: Site) -> None:
    def gpu() -> tuple[str, str]:
        check = HealthView.model_validate(api.get("/health").json()).checks["gpu"]
        return check.status, check.detail

    assert gpu() == ("skipped", "no worker of n1 has been heard of lately")
    site.announce()
    assert gpu() == ("ok", "the node has no device")
    well, ill = (Gpu(uuid=f"GPU-{each}", name="x", memory=GIB, index=each) for each in range(2))
    site.announce(gpus=(well, ill))
    api.post("/api/nodes/n1/gpus/0/cordon")
    assert gpu() == ("ok", "2 devices, 1 cordoned")
    site.announce(gpus=(well, ill.model_copy(update={"trouble": "it has fallen off the bus"})))
    assert gpu() == ("degraded", "GPU 1 of n1 is out: it has fallen off the bus")
    site.stores.redis.hset(site.stores.keys.node("n1"), "gpu_trouble", "the NVIDIA driver does not answer")
    assert gpu()[1].startswith("n1: the NVIDIA driver does not answer; GPU 1")


def test_metrics_count_why_jobs_wait_and_say_until_when(api: httpx.Client, site: Site) -> None:
    site.announce(millicores=4000)
    site.start("runs", requests=request(cpu=3.0))
    site.submit("head", requests=request(cpu=4.0))
    site.submit("full", requests=request(cpu=2.0))
    site.submit("nowhere", requests=request(cpu=64.0))
    found = samples(api)
    reasons = {reason: found[f"hivemind_waiting_jobs[('reason', '{reason}')]"] for reason in REASONS}
    assert {reason for reason, count in reasons.items() if count} == {"head", "full", "nowhere"}
    assert sum(reasons.values()) == found["hivemind_jobs_waiting"] == 3
    etas = [found[f"hivemind_waiting_eta_seconds[('of', '{of}')]"] for of in ("head", "max")]
    assert 0 <= etas[0] <= etas[1]


def test_metrics_of_a_long_line_look_at_its_front_alone(api: httpx.Client, site: Site) -> None:
    for number in range(FRONT + 7):
        site.submit(f"j{number}")
    found = samples(api)
    assert found["hivemind_waiting_jobs[('reason', 'closed')]"] == FRONT
    assert found["hivemind_waiting_jobs[('reason', 'unseen')]"] == 7
    assert not any(name.startswith("hivemind_waiting_eta_seconds") for name in found)


def test_recent_changes_are_listed_newest_first(api: httpx.Client, site: Site) -> None:
    site.submit()
    api.post("/api/tasks/t1/stop")
    body = Changes.model_validate(api.get("/api/events/recent").json())
    assert [(change.task_id, change.state, change.cause) for change in body.events] == [
        ("t1", "stopped", "cancelled"), ("t1", "waiting", None),
    ]  # fmt: skip


def test_health_names_the_part_that_is_not_well(settings: Settings, stores: Stores, unused_port: int) -> None:
    with serving(settings.model_copy(update={"bridge_port": unused_port}), stores) as api:
        response = api.get("/health")
        health = HealthView.model_validate(response.json())
    assert (response.status_code, health.status) == (503, "fail")
    assert health.checks["redis"].status == "ok"
    assert health.checks["bridge"].status == "fail"
    assert str(unused_port) in health.checks["bridge"].detail
    assert (health.checks["worker"].status, health.checks["disk"].status) == ("fail", "ok")


def test_health_is_good_when_every_part_is(settings: Settings, site: Site, listening_port: int) -> None:
    site.announce()
    changed = settings.model_copy(update={"bridge_port": listening_port, "docker_enabled": False})
    with serving(changed, site.stores) as api:
        response = api.get("/health")
        assert (response.status_code, response.json()["status"]) == (200, "degraded")
        assert response.json()["checks"]["history"]["detail"].startswith("no bridge serves the history")
        with recording(site.stores, settings):
            eventually(lambda: status(site.stores, settings).led)
            response = api.get("/health")
        assert (response.status_code, response.json()["status"]) == (200, "ok")
        assert response.json()["checks"]["docker"]["status"] == "skipped"
        assert api.head("/health").status_code == 200


def test_the_engine_is_asked_itself_and_where_it_cannot_be_seen_the_worker_is_believed(
    settings: Settings, site: Site, tmp_path: Path
) -> None:
    def docker(url: str | None) -> dict[str, str]:
        with serving(settings.model_copy(update={"docker_host": url}), site.stores) as api:
            found: dict[str, str] = api.get("/health").json()["checks"]["docker"]
            return found

    assert docker(None)["status"] == "ok"
    unseen = f"unix://{tmp_path}/none.sock"
    assert docker(unseen)["status"] == "fail"
    site.announce()
    assert docker(unseen)["status"] == "ok"
    site.stores.redis.hset(site.stores.keys.node("n1"), "trouble", "the engine does not answer")
    assert docker(unseen)["detail"] == "the worker says: the engine does not answer"
    assert docker(unseen)["status"] == "fail"
    assert docker("tcp://127.0.0.1:1")["status"] == "fail"


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


def test_caps_and_cordons_are_changed_over_http(api: httpx.Client, site: Site) -> None:
    site.announce(millicores=4000, gpus=(Gpu(uuid="GPU-aaaa", name="x", memory=1),))
    capped = api.post("/api/nodes/n1/caps", json={"max_cpu": 1.5, "max_gpus": 9}).json()
    assert (capped["allocatable"]["cpu"], capped["caps"]["max_cpu"]) == (1.5, 1.5)
    assert capped["warnings"] == ["the cap of 9 GPUs is more than the node has: 1 GPU"]
    freed = api.post("/api/nodes/n1/caps", json={"max_cpu": None}).json()
    assert (freed["allocatable"]["cpu"], freed["caps"]["max_gpus"]) == (4.0, 9)
    assert api.post("/api/nodes/n1/gpus/0/cordon").json()["gpus"][0]["cordoned"] is True
    assert api.post("/api/nodes/n1/gpus/GPU-aaaa/uncordon").json()["gpus"][0]["cordoned"] is False
    for body in ({}, {"max_beer": 1}, {"max_cpu": -1}, {"max_gpus": 1.5}, {"max_memory": 7}):
        assert api.post("/api/nodes/n1/caps", json=body).status_code == 400, body
    for name in ("max_cpu", "max_memory", "max_gpus", "max_tasks"):
        for value in (True, "2"):
            answer = api.post("/api/nodes/n1/caps", json={name: value})
            assert (answer.status_code, name in answer.text) == (400, True), value
    assert api.post("/api/nodes/n1/caps", json={"max_cpu": 2}).json()["caps"]["max_cpu"] == 2.0
    assert api.post("/api/nodes/n1/gpus/7/cordon").status_code == 404
    assert api.post("/api/nodes/gone/caps", json={"max_cpu": 1}).status_code == 404
    assert api.post("/api/nodes/n1/caps", json={"max_cpu": 1}, headers={"Origin": "http://evil"}).status_code == 403
