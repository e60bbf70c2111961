"""`hivemind down` of a node whose Redis others share."""

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


@pytest.mark.timeout(300)
def test_what_other_nodes_hold_or_may_run_goes_on(tmp_path: Path) -> None:
    shared = OwnRedis(tmp_path)
    shared.up()
    small = ("--cpu", "0.1", "--memory", "32M")
    try:
        with (
            running_node(tmp_path / "a", "down-a", HIVEMIND_REDIS_URL=shared.url) as mine,
            running_node(tmp_path / "b", "down-b", HIVEMIND_REDIS_URL=shared.url) as other,
        ):
            # A secret ties a job to the node that took it in.
            for node, task_id in ((mine, "mine"), (other, "others")):
                node.json("submit", "--id", task_id, "--secret", "KEY=x", *small, BUSYBOX, "sleep", "600")
            for task_id in ("mine", "others"):
                eventually(lambda job=task_id: mine.json("show", job)["state"] == "running", 60, "a job that runs")
            everything = str(mine.json("nodes")["nodes"][0]["allocatable"]["cpu"])
            mine.json("submit", "--id", "mine-waits", "--secret", "KEY=x", "--cpu", everything, BUSYBOX, "true")
            mine.json("submit", "--id", "anybodys", "--cpu", everything, BUSYBOX, "true")
            done = mine.hivemind("down", "--stop-jobs", "--grace", "0")
            assert (done.returncode, done.stdout) == (0, "")
            assert "and 2 jobs with it" in done.stderr
            states = {task["task_id"]: task["state"] for task in other.json("ps", "-a")["tasks"]}
            assert states == {"mine": "stopped", "mine-waits": "stopped", "others": "running", "anybodys": "waiting"}
            mine.up()
            assert {one["node"]: one["state"] for one in other.json("nodes")["nodes"]} == {
                "down-a": "up",
                "down-b": "up",
            }
    finally:
        shared.down()
