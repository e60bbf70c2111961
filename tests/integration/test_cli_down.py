"""`hivemind down` of a node whose Redis is somebody else's, and away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hivemind_cli import nodefile
from tests.engine import BUSYBOX
from tests.nodes import running_node
from tests.processes import eventually
from tests.redis_server import OwnRedis


@pytest.mark.timeout(300)
def test_jobs_that_cannot_be_stopped_keep_the_node_up_and_it_is_said_what_to_do(tmp_path: Path) -> None:
    shared = OwnRedis(tmp_path)
    shared.up()
    try:
        with running_node(tmp_path / "state", "cli-down", HIVEMIND_REDIS_URL=shared.url) as node:
            node.json("submit", "--id", "goes-on", "--cpu", "0.1", "--memory", "32M", BUSYBOX, "sleep", "600")
            eventually(lambda: node.json("show", "goes-on")["state"] == "running", 60, "a job that runs")
            shared.down()
            done = node.hivemind("down", "--stop-jobs")
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr.startswith("error: the jobs could not be stopped (Redis does not answer")
            assert done.stderr.endswith(
                "so the node still runs; try again once they can be, or stop it alone, and let them go on, with "
                "'hivemind down'\n"
            )
            assert done.stderr.count("\n") == 1
            assert set(json.loads(node.hivemind("--json", "down", "--stop-jobs").stdout)) == {"error"}
            assert nodefile.runs(nodefile.read(node.state))
            assert node.hivemind("down").returncode == 0
            assert nodefile.read(node.state) is None
            shared.up()
            node.up()
            assert node.json("show", "goes-on")["state"] == "running"
    finally:
        shared.down()
