"""The commands of `hivemind` about the node itself, against a real one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes import HIVEMIND, Node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all tests of this file."""
    node = Node(tmp_path_factory.mktemp("node") / "state", "cli-node", HIVEMIND_FLOWER_ENABLED="0")
    node.up()
    try:
        yield node
    finally:
        node.end()


def test_nodes_shows_what_is_lent(node: Node) -> None:
    (found,) = node.json("nodes")["nodes"]
    amounts = {"capacity", "reserved_for_system", "allocatable", "reserved"}
    assert amounts | {"node", "state", "usage", "running", "waiting"} <= set(found)
    assert all({"cpu", "memory", "gpus", "disk"} <= set(found[amount]) for amount in amounts)
    assert (found["node"], found["state"]) == ("cli-node", "up")
    assert "cli-node" in node.hivemind("nodes").stdout


def test_a_drained_node_says_so_and_takes_work_again_after_resume(node: Node) -> None:
    assert node.json("drain", "cli-node")["state"] == "draining"
    assert node.json("resume")["state"] == "up"
    assert node.hivemind("drain", "nowhere").returncode == 1


def test_top_prints_once_where_there_is_no_terminal(node: Node) -> None:
    done = node.hivemind("top")
    assert done.returncode == 0
    assert "cli-node" in done.stdout
    assert "\x1b" not in done.stdout
    assert set(node.json("top", "--once")) == {"nodes", "tasks"}


def test_doctor_finds_a_running_node_well_and_a_bad_setting_not(node: Node) -> None:
    report = node.json("doctor")
    assert report["ok"] is True
    names = {"python", "settings", "node", "docker", "cgroup", "time", "images", "redis", "ports", "disk", "clock"}
    assert {check["name"] for check in report["checks"]} == names
    broken = subprocess.run(
        [*HIVEMIND, "doctor"], env=node.env | {"HIVEMIND_API_PORT": "many"}, capture_output=True, text=True, check=False
    )
    assert broken.returncode == 1
    assert "HIVEMIND_API_PORT" in broken.stdout


def test_doctor_names_a_remedy_for_each_fault(node: Node, tmp_path: Path) -> None:
    env = node.env | {
        "HIVEMIND_STATE": str(tmp_path), "HIVEMIND_REDIS_URL": "redis://127.0.0.1:9/0",
        "DOCKER_HOST": "tcp://127.0.0.1:9", "HIVEMIND_API_PORT": node.document()["api"].rpartition(":")[2],
    }  # fmt: skip
    done = subprocess.run([*HIVEMIND, "doctor", "--json"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    failed = {
        check["name"]: check["remedy"] for check in json.loads(done.stdout)["checks"] if check["status"] == "fail"
    }
    assert set(failed) == {"redis", "docker", "ports"}
    assert all(failed.values())


@pytest.mark.parametrize("service", ["redis", "bridge", "worker", "api"])
def test_health_checks_tell_well_from_not(node: Node, service: str) -> None:
    document = node.document()
    ports = {f"HIVEMIND_{name.upper()}_PORT": document[name].rpartition(":")[2] for name in ("bridge", "api")}
    command = [HIVEMIND[0], "-m", "hivemind_cli.healthcheck", service]
    well = subprocess.run(command, env=node.env | ports, capture_output=True, text=True, check=False)
    assert (well.returncode, well.stderr) == (0, "")
    elsewhere = {"HIVEMIND_BRIDGE_PORT": "9", "HIVEMIND_API_PORT": "9", "HIVEMIND_REDIS_URL": "redis://127.0.0.1:9/0"}
    ill = subprocess.run(command, env=node.env | elsewhere, capture_output=True, text=True, check=False)
    assert ill.returncode == 1
    assert ill.stderr.startswith(f"{service}: ")
    assert ill.stderr.count("\n") == 1
