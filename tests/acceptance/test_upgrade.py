"""A node is upgraded in place while a job runs, and is told to leave: its containers go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import pytest

from hivemind_cli import processes
from tests.engine import BUSYBOX
from tests.nodes import Node, expect, finish
from tests.processes import eventually
from tests.releases import install_release
from tests.workspaces import workspace_of

#: numbered lines on both streams, ten a second, for half a minute
LINES = 300
COUNT = f"i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo $i; echo e$i >&2; sleep 0.1; done; echo kept > result"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node that is not up yet; whatever happens, nothing of it is left."""
    node = Node(tmp_path / "state", "upgraded", HIVEMIND_FLOWER_ENABLED="0")
    try:
        yield node
    finally:
        node.end()


@contextmanager
def starts_seen(task_id: str) -> Iterator[list[str]]:
    """The names of this job's containers as the engine itself tells of their starts."""
    client, seen = docker.APIClient(), list[str]()
    stream = client.events(decode=True, filters={"event": "start", "label": f"hivemind.task_id={task_id}"})

    def listen() -> None:
        with suppress(Exception):  # it ends when the stream is closed
            for event in stream:
                seen.append(event["Actor"]["Attributes"]["name"])

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stream.close()
        thread.join(10)
        client.close()


def services_of(node: Node) -> list[dict[str, Any]]:
    """The processes of a node that runs."""
    found: list[dict[str, Any]] = node.document()["services"]
    return found


@pytest.mark.timeout(300)
def test_a_job_of_half_a_minute_outlives_an_upgrade_of_its_node(node: Node, tmp_path: Path) -> None:
    old, new = (install_release(version, tmp_path / version) for version in ("0.9.1", "0.9.2"))
    del node.env["PYTHONPATH"]
    node.program = [str(old)]
    with starts_seen("half") as starts:
        node.up()
        assert node.document()["version"] == "0.9.1"
        node.hivemind("submit", "--id", "half", "--cpu", "0.1", BUSYBOX, "sh", "-c", COUNT)
        eventually(lambda: "5\n" in node.hivemind("logs", "half").stdout)
        assert node.down().returncode == 0
        node.program = [str(new)]
        node.up()
        assert node.document()["version"] == "0.9.2"
        assert node.json("show", "half")["state"] == "running"
        assert node.hivemind("wait", "half").returncode == 0
        done = node.json("show", "half")
    assert (done["state"], done["cause"], done["attempt"]) == ("completed", "ok", 1)
    assert starts == ["hm-half-1"]
    log = node.hivemind("logs", "half")
    assert log.stdout == "".join(f"{n}\n" for n in range(1, LINES + 1))
    assert log.stderr == "".join(f"e{n}\n" for n in range(1, LINES + 1))
    node.hivemind("fetch", "half", str(tmp_path / "out"))
    assert (tmp_path / "out" / "result").read_text() == "kept\n"


def test_whatever_part_of_a_node_is_told_to_leave_its_containers_go_on(node: Node) -> None:
    running = node.start("up")
    expect(running, "Ctrl-C stops the node")
    node.env["HIVEMIND_BRIDGE"] = node.document()["bridge"]
    with starts_seen("goes-on") as starts:
        node.hivemind(
            "submit",
            "--id",
            "goes-on",
            "--cpu",
            "0.1",
            BUSYBOX,
            "sh",
            "-c",
            "echo up; until [ -e go ]; do sleep 0.1; done",
        )
        eventually(lambda: node.json("show", "goes-on")["state"] == "running")
        follower = node.start("logs", "-f", "goes-on")
        expect(follower, "up")
        for name in ("worker", "bridge", "api"):
            before = node.service(name)
            with processes.Handle(before, processes.identity(before) or "") as handle:
                handle.signal(signal.SIGTERM)
                assert handle.wait(60), f"{name} did not leave"
            eventually(lambda name=name, before=before: came_back(node, name, before), 60)
        services = services_of(node)
        code, _ = finish(running, signal.SIGTERM)
        assert code == 0
        assert not any(processes.is_alive(one["pid"], one["identity"]) for one in services)
        node.up()
        (workspace_of(node.state, "goes-on").work / "go").touch()
        assert node.hivemind("wait", "goes-on").returncode == 0
    assert starts == ["hm-goes-on-1"]
    follower.terminate()
    follower.communicate()


def came_back(node: Node, name: str, before: int) -> bool:
    """Whether a service is there again, as another process."""
    return any(one["name"] == name and one["ready"] and one["pid"] != before for one in services_of(node))
