"""`--cpu-limit` on a whole node: a container has at most what its node lends when it is made, however that is bounded.

The node is pinned to one core of the machine's, as by a cpuset.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from hivemind_worker.admission.admitter import Admitter
from hivemind_worker.admission.rules import Rules
from hivemind_worker.bootstrap import Stores
from hivemind_worker.execution.handle import Handle
from tests.builders import node as a_node
from tests.engine import BUSYBOX
from tests.integration.execution_kit import Kit
from tests.nodes import Node, running_node
from tests.processes import eventually

CORE = 10**9


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that may run on one core only: what this thread may do, its children may."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        with running_node(tmp_path_factory.mktemp("node") / "state", "pinned", HIVEMIND_BEAT="0.2") as node:
            yield node
    finally:
        os.sched_setaffinity(0, allowed)


def cap_of(node: Node, *options: str) -> int:
    """The cores that a job's container may use, in billionths."""
    options = ("--memory", "32M", "--timeout", "5m", *options)
    task_id = node.json("submit", *options, BUSYBOX, "sleep", "300")["task_id"]
    eventually(lambda: node.json("show", task_id)["state"] == "running")
    command = ["docker", "inspect", "--format", "{{.HostConfig.NanoCpus}}", f"hm-{task_id}-1"]
    found = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    node.hivemind("stop", task_id)
    eventually(lambda: node.json("nodes")["nodes"][0]["running"] == 0)
    return found


def test_a_limit_does_not_pass_what_a_pinned_node_has_nor_a_cap_that_is_set_while_it_runs(node: Node) -> None:
    assert node.json("nodes")["nodes"][0]["capacity"]["cpu"] == 1.0
    assert cap_of(node, "--cpu", "0.2", "--cpu-limit", "2") == CORE
    node.hivemind("node", "set", "--max-cpu", "0.5")
    eventually(lambda: node.json("nodes")["nodes"][0]["allocatable"]["cpu"] == 0.5)
    assert cap_of(node, "--cpu", "0.2", "--cpu-limit", "2") == CORE // 5, "of what little is lent nobody has more"
    node.hivemind("node", "set", "--max-cpu", "none")


def test_a_pinned_node_lends_no_core_twice_and_says_why(node: Node) -> None:
    here = node.json("nodes")["nodes"][0]
    assert (here["cpu_factor"], here["allocatable"]["spare_cpu"]) == (1.0, 1.0)
    assert any(line.startswith("this node has 1 core of the machine's ") for line in here["warnings"])


def test_what_a_node_lends_is_known_without_another_look_at_redis(stores: Stores, kit: Kit) -> None:
    admitter = Admitter(stores.ledger, node="n1", worker="w1", rules=Rules())
    kit.cores = lambda: admitter.cores
    bursting = {"cpu": 0.5, "cpu_limit": 2.0}
    assert kit_cap(kit, bursting) == CORE // 2, "nothing is known of the node yet"
    stores.ledger.announce(a_node(millicores=1500), worker="w1", lease_seconds=10)
    admitter.once()
    assert kit_cap(kit, bursting) == 3 * CORE // 2
    stores.ledger.set_caps("n1", {"millicores": 1000})
    admitter.forget_nodes()
    assert kit_cap(kit, bursting) == 3 * CORE // 2, "as it was when it was seen last"
    admitter.once()
    assert kit_cap(kit, bursting) == CORE // 2, "two of them would pass the cap"
    stores.ledger.set_caps("n1", {"millicores": 4000})
    admitter.forget_nodes()
    admitter.once()
    assert kit_cap(kit, bursting) == 3 * CORE // 2, "a cap above the machine is none"


def kit_cap(kit: Kit, requests: dict[str, float]) -> int:
    """The cap in the body of a container on the kit's runner."""
    prepared = kit.prepare(kit.job("true", image=BUSYBOX, requests=requests), Handle(), runner=kit.new_runner())
    assert prepared.body is not None
    cap: int = prepared.body["HostConfig"]["NanoCpus"]
    return cap
