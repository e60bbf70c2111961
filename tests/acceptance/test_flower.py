"""Flower beside a real worker and a real bridge: what it shows of a job, and what its buttons do to the container."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from hivemind_cli.planning import free_port
from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.job import State
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import load_settings
from tests.builders import new_job, request
from tests.processes import environment, eventually, process, until, worker
from tests.redis_server import OwnRedis

BUSYBOX = "localhost/hivemind-busybox:latest"


@dataclass(frozen=True)
class Node:
    """One core, so that one job of one core makes the next one wait."""

    stores: Stores
    flower: httpx.Client

    def submit(self, task_id: str, script: str) -> None:
        wanted = new_job(task_id, image=BUSYBOX, command=("sh", "-c", script), requests=request(cpu=1.0))
        self.stores.jobs.create(wanted)

    def shown(self, task_id: str) -> dict[str, Any]:
        """What Flower knows of a job; nothing before it has heard of it."""
        answer = self.flower.get(f"/api/task/info/{task_id}")
        return dict(answer.json()) if answer.status_code == 200 else {}

    def until_shown(self, task_id: str, state: str) -> dict[str, Any]:
        eventually(lambda: self.shown(task_id).get("state") == state)
        return self.shown(task_id)

    def press(self, button: str) -> None:
        assert self.flower.post(f"/api/task/revoke/{button}").status_code == 200


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("flower")
    redis = OwnRedis(folder)
    redis.up()
    settings = load_settings(state=folder / "state", redis_url=redis.url, node_id="flower-test", max_cpu_cores=1.0)
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        stack.callback(redis.down)
        stores = open_stores(settings)
        stack.callback(stores.close)
        stack.enter_context(worker(settings, stores, folder / "worker.log", MAX_CPU_CORES="1"))
        bridge_env = environment(settings, HIVEMIND_BRIDGE_PORT=str(free_port()))
        stack.enter_context(process([sys.executable, "-m", "bridge"], bridge_env, folder / "bridge.log"))
        flower_env = environment(settings, HIVEMIND_FLOWER_PORT=str(port))
        flower = [sys.executable, "-m", "hivemind_worker.flower"]
        stack.enter_context(process(flower, flower_env, folder / "flower.log"))
        client = stack.enter_context(httpx.Client(base_url=address, timeout=20))
        made = Node(stores, client)
        until_listening(made, folder / "flower.log")
        yield made


def until_listening(node: Node, log: Path) -> None:
    """Flower tells nobody when its ears are open: jobs are sent until it has heard of one, of its wait and its end."""
    sent: list[str] = []

    def heard() -> bool:
        sent.append(f"probe-{len(sent)}")
        node.submit(sent[-1], "true")
        until(node.stores, sent[-1])
        try:
            known = [node.shown(task_id) for task_id in sent]
        except httpx.TransportError:
            return False
        return any(seen.get("sent") and seen["state"] == "SUCCESS" for seen in known)

    try:
        eventually(heard, timeout=60)
    except AssertionError:
        raise AssertionError(log.read_text()) from None


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


def containers(engine: docker.DockerClient, task_id: str) -> list[Any]:
    return list(engine.api.containers(all=True, filters={"label": f"hivemind.task_id={task_id}"}))


def test_a_failed_job_is_a_failure_with_its_cause_and_run_time(node: Node) -> None:
    node.submit("fails", "exit 3")
    shown = node.until_shown("fails", "FAILURE")
    assert "exit" in shown["exception"]
    assert shown["runtime"] > 0


def test_a_job_waits_starts_and_succeeds_before_flowers_eyes(node: Node) -> None:
    node.submit("first", "sleep 600")
    until(node.stores, "first", State.RUNNING)
    assert node.until_shown("first", "STARTED")["name"] == "hivemind.run_job"
    node.submit("second", "true")
    assert node.until_shown("second", "PENDING")["started"] is None
    assert node.stores.jobs.get("second").state is State.WAITING
    node.stores.jobs.cancel("first", 0.0)
    shown = node.until_shown("second", "SUCCESS")
    assert shown["runtime"] > 0
    assert shown["started"] >= shown["sent"]


def test_revoking_a_waiting_job_takes_it_out_of_the_line(node: Node) -> None:
    node.submit("holder", "sleep 600")
    until(node.stores, "holder", State.RUNNING)
    node.submit("waiter", "true")
    node.until_shown("waiter", "PENDING")
    node.press("waiter")
    assert until(node.stores, "waiter", State.STOPPED).attempt == 0
    node.until_shown("waiter", "REVOKED")
    assert node.stores.jobs.get("holder").state is State.RUNNING
    node.stores.jobs.cancel("holder", 0.0)
    until(node.stores, "holder", State.STOPPED)


def test_terminating_a_running_job_stops_its_container_and_revoking_alone_does_not(
    node: Node, engine: docker.DockerClient
) -> None:
    node.submit("runs", "trap 'exit 0' TERM; while :; do sleep 0.1; done")
    until(node.stores, "runs", State.RUNNING)
    node.until_shown("runs", "STARTED")
    node.press("runs")
    node.flower.get("/api/workers?refresh=true")  # asks the worker, which answers after what it was told before
    assert [container["State"] for container in containers(engine, "runs")] == ["running"]
    assert node.stores.jobs.get("runs").stop_grace is None
    node.press("runs?terminate=true")
    job = until(node.stores, "runs", State.STOPPED)
    assert job.outcome is not None
    assert job.outcome.cause is Cause.CANCELLED
    eventually(lambda: containers(engine, "runs") == [])
    node.until_shown("runs", "REVOKED")
    assert node.stores.ledger.rows("flower-test") == {}
