"""A node that sees devices, on an engine that cannot give any: this machine's has no NVIDIA runtime."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine import BUSYBOX
from tests.gpu_standin import Machine, build
from tests.nodes import Node, running_node
from tests.processes import eventually

SAID = "could not select device driver"


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    build(tmp_path)
    machine = Machine(tmp_path / "machine").add("GPU-aaaa", 8).add("GPU-bbbb", 8)
    found = {"LD_LIBRARY_PATH": str(tmp_path), "NVML_STANDIN": str(machine.path)}
    # At once: the next attempt must not find the devices still lent.
    with running_node(tmp_path / "state", "bare", HIVEMIND_INFRASTRUCTURE_BACKOFF="0", **found) as node:
        yield node


def test_devices_that_the_engine_cannot_give_are_not_lent_and_the_job_waits(node: Node) -> None:
    task_id = node.json("submit", "--gpus", "1", BUSYBOX, "true")["task_id"]
    eventually(lambda: SAID in (node.json("show", task_id)["waiting"] or {"reason": ""})["reason"], 60)
    shown = node.json("show", task_id)
    assert "restart the engine" in shown["waiting"]["reason"]
    assert [(each["cause"], each["fault"]) for each in shown["attempts"]] == [("engine", "infrastructure")]
    here = node.json("nodes")["nodes"][0]
    assert (here["running"], here["allocatable"]["gpus"], here["reserved"]["gpus"]) == (0, 0, 0)
    assert SAID in here["gpu_trouble"]
    refused = node.hivemind("submit", "--gpus", "1", BUSYBOX, "true")
    assert refused.returncode != 0
    assert SAID in refused.stderr
    assert SAID in node.hivemind("doctor").stdout
    # It stands for the node's next worker too, and for nobody else.
    node.hivemind("down")
    node.up()
    assert node.hivemind("run", BUSYBOX, "true").returncode == 0
    assert SAID in node.json("show", task_id)["waiting"]["reason"]
    assert len(node.json("show", task_id)["attempts"]) == 1
