"""The commands of `hivemind` about the node itself, against a real one."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import BUSYBOX
from tests.nodes import HIVEMIND, Node, expect, finish, running_node
from tests.processes import eventually
from tests.workspaces import workspace_of


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all tests of this file."""
    with running_node(tmp_path_factory.mktemp("node") / "state", "cli-node") as node:
        yield node


def test_nodes_shows_what_is_lent(node: Node) -> None:
    (found,) = node.json("nodes")["nodes"]
    amounts = {"capacity", "reserved_for_system", "allocatable", "reserved"}
    assert amounts | {"node", "state", "usage", "running", "waiting"} <= set(found)
    assert all({"cpu", "memory", "gpus", "disk"} <= set(found[amount]) for amount in amounts)
    assert (found["node"], found["state"]) == ("cli-node", "up")
    assert "cli-node" in node.hivemind("nodes").stdout


def test_caps_above_settings_or_machine_are_told_when_they_are_set_and_when_the_node_comes_up(tmp_path: Path) -> None:
    settings = {"HIVEMIND_MAX_CPU_CORES": "1", "HIVEMIND_MAX_MEMORY_GB": "99999"}
    node = Node(tmp_path / "state", "capped", **settings)
    try:
        came_up = node.hivemind("up", "--detach")
        assert came_up.returncode == 0, came_up.stderr
        assert came_up.stderr.count("hivemind: warning: HIVEMIND_MAX_MEMORY_GB=99999 is more than this machine") == 1
        node.env["HIVEMIND_BRIDGE"] = node.document()["bridge"]
        told = node.hivemind("node", "set", "--max-cpu", "2", "--max-tasks", "1").stderr.splitlines()
        assert told[0].startswith("capped lends 1 core, ")
        assert told[0].endswith(", 1 job")
        assert told[1:] == [
            "warning: the cap of 2 cores is more than the node lends by its settings, beside what it keeps: 1 core; "
            "it changes nothing"
        ]
        assert len(node.hivemind("node", "set", "--max-tasks", "2").stderr.splitlines()) == 1
    finally:
        node.hivemind("down")


def test_a_drained_node_says_so_and_takes_work_again_after_resume(node: Node) -> None:
    assert node.json("drain", "cli-node")["state"] == "draining"
    assert node.json("resume")["state"] == "up"
    assert node.hivemind("drain", "nowhere").returncode == 1


def test_drain_waits_for_what_runs_says_until_when_and_admits_nothing_meanwhile(node: Node) -> None:
    running = submit(node, "--timeout", "90s", "sh", "-c", "until [ -e go ]; do sleep 0.1; done")
    eventually(lambda: node.json("show", running)["state"] == "running")
    told = node.json("drain")
    assert (told["state"], told["held"], told["drained"]) == ("draining", 1, False)
    # Its timeout, and what the node allows for its start, its end and its artifact.
    assert 0 < told["eta_seconds"] <= 90 + 10 + 3 * 5
    late = submit(node, "true")
    waiting = node.start("drain", "--wait")
    try:
        assert "1 job runs on, until" in expect(waiting, "draining cli-node")
        assert node.json("show", late)["state"] == "waiting"
        (workspace_of(node.state, running).work / "go").touch()
        code, rest = finish(waiting)
        assert (code, rest) == (0, "cli-node is draining: no job is left\n")
        again = node.json("drain", "--wait")
        assert (again["held"], again["eta_seconds"], again["drained"]) == (0, None, True)
        assert node.json("show", late)["state"] == "waiting"
    finally:
        assert node.json("resume")["state"] == "up"
    assert node.hivemind("wait", running, late).returncode == 0


def test_waiting_for_a_drain_ends_when_somebody_resumes_the_node(node: Node) -> None:
    running = submit(node, "sh", "-c", "until [ -e go ]; do sleep 0.1; done")
    eventually(lambda: node.json("show", running)["state"] == "running")
    waiting = node.start("drain", "--wait")
    expect(waiting, "draining cli-node")
    node.json("resume")
    code, rest = finish(waiting)
    assert code == 1
    assert "takes work again" in rest
    (workspace_of(node.state, running).work / "go").touch()
    assert node.hivemind("wait", running).returncode == 0


def submit(node: Node, *words: str) -> str:
    """A small job; its id."""
    options = [word for word in words if word.startswith("--timeout")]
    command = words[2:] if options else words
    more = words[:2] if options else ()
    return str(node.json("submit", "--cpu", "0.1", "--memory", "32M", *more, BUSYBOX, *command)["task_id"])


def test_top_prints_once_where_there_is_no_terminal(node: Node) -> None:
    done = node.hivemind("top")
    assert done.returncode == 0
    assert "cli-node" in done.stdout
    assert "\x1b" not in done.stdout
    assert set(node.json("top", "--once")) == {"nodes", "tasks"}


def test_doctor_finds_a_running_node_well_and_a_bad_setting_not(node: Node) -> None:
    report = node.json("doctor")
    assert report["ok"] is True
    names = {
        "python",
        "settings",
        "node",
        "docker",
        "cgroup",
        "time",
        "images",
        "gpu",
        "redis",
        "ports",
        "disk",
        "clock",
    }
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
