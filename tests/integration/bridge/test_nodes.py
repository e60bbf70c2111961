"""NodeControlService."""

from __future__ import annotations

import pytest

from bridge.client import Client
from hivemind_worker.admission.explain import Explainer
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.node import Gpu
from tests.builders import node
from tests.integration.bridge.conftest import refused
from tests.site import Site


def test_a_node_reads_over_the_wire_as_it_does_at_home(bridge: Client, stores: Stores, site: Site) -> None:
    site.announce(gpus=(Gpu(uuid="g0", name="A card", memory=2**36),))
    site.start("runs")
    site.submit("waits")
    assert bridge.nodes() == Explainer(stores.jobs, stores.ledger).nodes() == bridge.nodes("n1")


def test_a_site_without_nodes_has_an_empty_list(bridge: Client) -> None:
    assert bridge.nodes() == []


def test_a_node_that_is_not_known_is_not_found(bridge: Client, stores: Stores, site: Site) -> None:
    site.announce()
    for call in (bridge.nodes, bridge.drain, bridge.resume):
        with refused("NOT_FOUND", says="n9"):
            call("n9")
    assert [known.node for known in stores.ledger.nodes()] == ["n1"]


@pytest.mark.parametrize("name", ["x" * 65, "a\nb", "\x1b[31m"])
def test_a_name_that_cannot_be_one_is_refused(bridge: Client, name: str) -> None:
    for call in (bridge.nodes, bridge.drain, bridge.resume):
        with refused("INVALID_ARGUMENT", "node"):
            call(name)


def test_the_only_node_is_drained_and_resumed_without_being_named(bridge: Client, site: Site) -> None:
    site.announce()
    assert bridge.drain()["state"] == "draining"
    assert bridge.drain()["state"] == "draining"
    assert bridge.resume()["state"] == "up"


def test_of_several_nodes_one_must_be_named(bridge: Client, stores: Stores, site: Site) -> None:
    site.announce()
    stores.ledger.announce(node("n2"), worker="w2", lease_seconds=60)
    with refused("INVALID_ARGUMENT", "node", says="n1, n2"):
        bridge.drain()
    assert bridge.drain("n2")["state"] == "draining"
    assert [known["state"] for known in bridge.nodes()] == ["up", "draining"]


def test_where_no_node_is_there_is_nothing_to_drain(bridge: Client) -> None:
    with refused("NOT_FOUND", says="is its worker up?"):
        bridge.drain()


def test_caps_are_set_and_taken_away_while_a_job_runs(bridge: Client, site: Site) -> None:
    site.announce(millicores=4000)
    site.start("runs")
    capped = bridge.set_node(max_cpu=0.5, max_tasks=0)
    assert (capped["allocatable"]["cpu"], capped["allocatable"]["slots"], capped["running"]) == (0.5, 0, 1)
    assert capped["caps"] == {"max_cpu": 0.5, "max_memory": None, "max_gpus": None, "max_tasks": 0}
    site.announce(millicores=4000)
    assert bridge.nodes("n1")[0]["caps"] == capped["caps"]
    high = bridge.set_node("n1", clear=["max_tasks"], max_cpu=64)
    assert (high["allocatable"]["cpu"], high["allocatable"]["slots"]) == (4.0, 8)
    assert high["warnings"] == ["the cap of 64 cores is more than the node has: 4 cores"]


def test_a_cap_only_stops_admitting_so_jobs_come_in_and_say_what_keeps_them(bridge: Client, site: Site) -> None:
    site.announce(millicores=4000)
    bridge.set_node(max_tasks=0, max_cpu=0)
    bridge.assign({"task_id": "waits", "image": "busybox"})
    waits = bridge.get("waits")
    assert (waits["state"], waits["waiting"]["kind"]) == ("waiting", "withheld")
    assert "an operator set the cap of 0 cores, the cap of 0 slots" in waits["waiting"]["reason"]
    bridge.set_node(clear=["max_tasks", "max_cpu"])
    assert bridge.get("waits")["waiting"]["kind"] == "starting"


@pytest.mark.parametrize(
    ("caps", "field"),
    [
        ({"max_cpu": float("nan")}, "max_cpu"), ({"max_cpu": -1}, "max_cpu"), ({"max_memory": 4}, "max_memory"),
        ({"max_gpus": -1}, "max_gpus"), ({"max_tasks": 10**6}, "max_tasks"), ({}, "caps"),
    ],
)  # fmt: skip
def test_a_cap_that_makes_no_sense_is_refused_by_name(
    bridge: Client, site: Site, caps: dict[str, float], field: str
) -> None:
    site.announce()
    with refused("INVALID_ARGUMENT", field):
        bridge.set_node(**caps)  # type: ignore[arg-type]
    with refused("INVALID_ARGUMENT", "max_beer"):
        bridge.set_node(clear=["max_beer"])


def test_a_device_is_cordoned_by_number_uuid_or_the_beginning_of_one(bridge: Client, site: Site) -> None:
    site.announce(
        gpus=(
            Gpu(uuid="GPU-aaaa", name="x", memory=1), Gpu(uuid="GPU-abbb", name="x", memory=1, index=1),
            Gpu(uuid="MIG-1", name="x", memory=1, index=2, parent="GPU-p"),
            Gpu(uuid="MIG-2", name="x", memory=1, index=2, parent="GPU-p"),
        )
    )  # fmt: skip

    def cordoned(node: dict[str, object]) -> list[str]:
        return [gpu["uuid"] for gpu in node["gpus"] if gpu["cordoned"]]  # type: ignore[attr-defined]

    assert cordoned(bridge.cordon_gpu("1")) == ["GPU-abbb"]
    assert bridge.nodes()[0]["allocatable"]["gpus"] == 3
    assert cordoned(bridge.cordon_gpu("GPU-p")) == ["GPU-abbb", "MIG-1", "MIG-2"]
    assert cordoned(bridge.cordon_gpu("2", on=False)) == ["GPU-abbb"]
    assert cordoned(bridge.cordon_gpu("GPU-ab", on=False)) == []
    with refused("INVALID_ARGUMENT", "gpu", says="2 devices"):
        bridge.cordon_gpu("GPU-a")
    with refused("NOT_FOUND", says="GPU-aaaa"):
        bridge.cordon_gpu("7")
    with refused("INVALID_ARGUMENT", "gpu"):
        bridge.cordon_gpu("\x1b[31m")
