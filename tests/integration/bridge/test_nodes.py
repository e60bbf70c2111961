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
