"""What the status API says of nodes, their devices, their health, and in numbers."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
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
    Resources,
    StatusView,
)
from hivemind_worker.settings import Settings
from tests.builders import request
from tests.integration.history_kit import recording, status
from tests.processes import eventually
from tests.serving import serving
from tests.site import Site


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
