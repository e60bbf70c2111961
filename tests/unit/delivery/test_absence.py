"""Why an artifact cannot be had here."""

from __future__ import annotations

import pytest

from hivemind_worker.delivery.absence import why_absent
from tests.builders import job


def test_an_artifact_on_another_node_is_to_be_fetched_there() -> None:
    assert why_absent(job(node="n1"), "n2") == (
        "the artifact of job t1 lies on node n1, whose files this bridge cannot read; fetch it from that node's bridge"
    )


@pytest.mark.parametrize("node", ["n1", ""])
def test_an_artifact_that_was_here_is_no_longer_kept(node: str) -> None:
    assert why_absent(job(node=node), "n1") == "the artifact of job t1 is no longer kept (retention)"
