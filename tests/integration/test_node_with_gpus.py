"""A whole node whose NVIDIA library is the stand-in: what an operator and a submitter see of its devices."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.browser import Page, chromium
from tests.engine import BUSYBOX
from tests.gpu_standin import GIB, Machine, build
from tests.nodes import Node, running_node
from tests.processes import eventually


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    folder = tmp_path_factory.mktemp("machine")
    build(folder)
    return Machine(folder / "machine").add("GPU-aaaa", 8).add("GPU-bbbb", 16, reserved=GIB)


@pytest.fixture(scope="module")
def node(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all tests of this file."""
    found = {"LD_LIBRARY_PATH": str(machine.path.parent), "NVML_STANDIN": str(machine.path)}
    with running_node(tmp_path_factory.mktemp("node") / "state", "gpu-node", **found) as node:
        yield node


def seen(node: Node) -> dict[str, str]:
    """What `nodes` says of each device."""
    gpus = node.json("nodes")["nodes"][0]["gpus"]
    return {gpu["uuid"]: gpu["trouble"] or ("cordoned" if gpu["cordoned"] else "") for gpu in gpus}


def lends(node: Node) -> dict[str, float]:
    allocatable: dict[str, float] = node.json("nodes")["nodes"][0]["allocatable"]
    return allocatable


def steady(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what changes from one look to the next."""
    moving = {"usage", "heartbeat", "cpu_factor", "cpu_score"}
    return [{name: value for name, value in each.items() if name not in moving} for each in nodes]


@pytest.fixture(scope="module")
def page(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser's tab on the node's own page."""
    with chromium(tmp_path_factory.mktemp("browser")) as tab:
        tab.goto(f"{node.document()['api']}/nodes/gpu-node")
        yield tab


def refused(node: Node, *options: str) -> str:
    done = node.hivemind("submit", *options, BUSYBOX, "true")
    assert done.returncode != 0
    return done.stderr


def test_devices_are_lent_and_more_than_there_are_is_refused_by_name(node: Node) -> None:
    assert seen(node) == {"GPU-aaaa": "", "GPU-bbbb": ""}
    assert lends(node)["gpus"] == 2
    assert "requests.gpus: asked for 3 GPUs, but the most a node can lend is 2" in refused(node, "--gpus", "3")
    large = refused(node, "--gpus", "2", "--gpu-memory", "12G")
    assert "requests.gpu_memory: asked for 2 GPUs of 12G each (the largest device lends 15G)" in large


def test_a_cordon_keeps_jobs_waiting_and_outlives_the_heartbeat(node: Node) -> None:
    assert "GPU 0 (GPU-aaaa): cordoned" in node.hivemind("node", "cordon-gpu", "0").stderr
    assert "GPU-aaaa" in node.hivemind("nodes").stdout
    waits = node.json("submit", "--gpus", "2", BUSYBOX, "true")["task_id"]
    eventually(lambda: "GPU" in node.json("show", waits)["waiting"]["reason"])
    assert seen(node) == {"GPU-aaaa": "cordoned", "GPU-bbbb": ""}
    node.hivemind("stop", waits)
    node.hivemind("node", "uncordon-gpu", "GPU-a")
    eventually(lambda: seen(node) == {"GPU-aaaa": "", "GPU-bbbb": ""})
    assert node.hivemind("node", "cordon-gpu", "7").returncode == 1


def test_the_api_the_wire_and_the_command_line_say_the_same_of_a_node(node: Node) -> None:
    served = httpx.get(f"{node.document()['api']}/api/nodes", timeout=20).json()["nodes"]
    assert steady(node.json("nodes")["nodes"]) == steady(served)
    assert steady(node.json("nodes", "gpu-node")["nodes"]) == steady(served)
    assert (served[0]["on_partition"], served[0]["durability"]) == ("keep", "always")
    assert node.hivemind("nodes", "elsewhere").returncode == 1
    told = node.hivemind("nodes", "gpu-node").stdout
    assert "GPU-bbbb" in told
    assert "acknowledged jobs survive:" in told


def test_the_page_of_a_real_node_follows_what_an_operator_and_its_driver_do(
    node: Node, machine: Machine, page: Page
) -> None:
    said = "document.getElementById('attention').innerText"
    device = "document.querySelector('[data-gpu=GPU-bbbb]').innerText"
    page.wait(f"{device}.includes('takes jobs') && {device}.includes('0 B of 15 GiB held; 16 GiB in all')", 60)
    machine.change("GPU-bbbb", remap_pending=1)
    page.wait(f"{said}.includes('GPU 1 is out of service: rows of its memory wait')", 60)
    assert page.evaluate(f"{said}.split('rows of its memory wait').length") == 2
    machine.change("GPU-bbbb", remap_pending=0)
    node.hivemind("node", "cordon-gpu", "GPU-bbbb")
    page.wait(f"{device}.includes('cordoned') && !{device}.includes('out of service')", 60)
    node.hivemind("node", "uncordon-gpu", "GPU-bbbb")
    node.hivemind("node", "set", "--max-memory", "500T")
    page.wait(f"{said}.includes('the cap of 500T of memory is more than the node has')", 60)
    node.hivemind("node", "set", "--max-memory", "none")
    page.wait(f"{device}.includes('takes jobs') && !{said}.includes('500T')", 60)


def test_a_device_that_falls_ill_leaves_capacity_and_comes_back(node: Node, machine: Machine) -> None:
    machine.change("GPU-aaaa", remap_pending=1)
    eventually(lambda: lends(node)["gpus"] == 1)
    assert "GPU 0 of gpu-node is out: rows of its memory wait" in refused(node, "--gpus", "2")
    assert "rows of its memory" in node.hivemind("nodes").stdout
    machine.change("GPU-aaaa", remap_pending=0)
    eventually(lambda: lends(node)["gpus"] == 2)


def test_memory_of_a_driver_that_died_is_refused_by_name_and_who_waits_for_it_is_told(
    node: Node, machine: Machine
) -> None:
    node.hivemind("node", "cordon-gpu", "0")
    node.hivemind("node", "cordon-gpu", "1")
    waits = node.json("submit", "--gpus", "1", "--gpu-memory", "1G", BUSYBOX, "true")["task_id"]
    machine.driver = 999
    machine.write()
    dead = "the NVIDIA driver does not answer: Unknown Error"
    eventually(lambda: set(seen(node).values()) == {dead})
    assert dead in refused(node, "--gpus", "1", "--gpu-memory", "1G")
    eventually(lambda: dead in node.json("show", waits)["waiting"]["reason"])
    api = node.document()["api"]
    eventually(lambda: dead in httpx.get(f"{api}/health", timeout=20).json()["checks"]["gpu"]["detail"])
    assert 'hivemind_node_gpus_available{node="gpu-node"} 0.0' in httpx.get(f"{api}/metrics", timeout=20).text
    assert dead in node.hivemind("doctor").stdout
    node.hivemind("stop", waits)
    machine.driver = 0
    machine.write()
    eventually(lambda: set(seen(node).values()) == {"cordoned"})
    node.hivemind("node", "uncordon-gpu", "0")
    node.hivemind("node", "uncordon-gpu", "1")
    eventually(lambda: lends(node)["gpus"] == 2)


def test_caps_are_set_while_the_node_runs_and_survive_its_restart(node: Node) -> None:
    running = node.json("submit", "--cpu", "0.2", "--timeout", "5m", BUSYBOX, "sleep", "300")["task_id"]
    eventually(lambda: node.json("show", running)["state"] == "running")
    told = node.hivemind("node", "set", "--max-cpu", "0.1", "--max-memory", "1T", "--max-tasks", "9").stderr
    assert "gpu-node lends 0.1 cores" in told
    assert "warning: the cap of 1T of memory is more than the node has" in told
    assert node.json("show", running)["state"] == "running"
    assert "capped to 0.1 cores, 1T memory, 9 jobs by an operator" in node.hivemind("nodes").stdout
    node.hivemind("down")
    node.up()
    eventually(lambda: lends(node)["cpu"] == 0.1)
    assert node.json("show", running)["state"] == "running"
    node.hivemind("node", "set", "--max-cpu", "none", "--max-memory", "none", "--max-tasks", "none")
    assert lends(node)["cpu"] > 0.5
    node.hivemind("stop", running)
    assert node.hivemind("node", "set").returncode == 2
    assert node.hivemind("node", "set", "--max-cpu", "nan").returncode != 0


def test_a_reclaimable_job_weighs_nothing_and_says_so(node: Node) -> None:
    options = ("--reclaimable", "--cpu", "0.5", "--cpu-limit", "1.5", "--timeout", "5m")
    task_id = node.json("submit", *options, BUSYBOX, "sleep", "300")["task_id"]
    eventually(lambda: node.json("show", task_id)["state"] == "running")
    command = ["docker", "inspect", "--format", "{{.HostConfig.CpuShares}} {{.HostConfig.NanoCpus}}", f"hm-{task_id}-1"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["2", "1500000000"]
    shown = node.hivemind("show", task_id).stdout
    assert "0.5 cores (up to 1.5 where the node lends them) that others leave idle" in shown
    held = node.json("nodes")["nodes"][0]["reserved"]
    assert (held["cpu"], held["spare_cpu"]) == (0.0, 0.5)
    node.hivemind("stop", task_id)
    assert "between cpu, which is 2" in refused(node, "--cpu", "2", "--cpu-limit", "1")
