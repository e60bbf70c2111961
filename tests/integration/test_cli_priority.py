"""`hivemind priority` against a real node: what it refuses, and what it changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.engine import BUSYBOX
from tests.nodes import Node, running_node
from tests.processes import eventually


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all tests of this file. It takes no work, so that jobs wait."""
    with running_node(tmp_path_factory.mktemp("node") / "state", "cli-priority") as node:
        node.json("submit", "--id", "running", "--cpu", "0.1", BUSYBOX, "sleep", "600")
        eventually(lambda: node.json("show", "running")["state"] == "running", 60, "a job that runs")
        node.json("drain")
        for name in ("first", "second"):
            node.json("submit", "--id", name, "--cpu", "0.1", BUSYBOX, "true")
        yield node


def line(node: Node) -> dict[str, Any]:
    """Who waits: its place and its priority."""
    waiting = [task for task in node.json("ps")["tasks"] if task["state"] == "waiting"]
    return {task["task_id"]: (task["waiting"]["position"], task["priority"]) for task in waiting}


@pytest.mark.parametrize(
    ("args", "code", "says", "kind"),
    [
        (["ghost", "5"], 1, "there is no job ghost", "NOT_FOUND"),
        (["running", "5"], 1, "running does not wait any more: it is running", "FAILED"),
        (["first", "10"], 2, "10 is not in the range 0<=x<=9", "USAGE"),
        (["first", "-1"], 2, "-1", "USAGE"),
        (["first", "high"], 2, "'high' is not a valid integer", "USAGE"),
        (["first", "5.5"], 2, "'5.5' is not a valid integer", "USAGE"),
        (["first"], 2, "Missing argument '0..9'", "USAGE"),
        ([], 2, "Missing argument 'ID'", "USAGE"),
    ],
)
def test_what_cannot_be_is_one_line_and_changes_nothing(
    node: Node, args: list[str], code: int, says: str, kind: str
) -> None:
    before = line(node)
    done = node.hivemind("priority", *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    done = node.hivemind("--json", "priority", *args)
    assert done.returncode == code
    document = json.loads(done.stdout)
    assert set(document) == {"error"}
    assert document["error"]["code"] == kind
    assert says in document["error"]["message"]
    assert line(node) == before


def test_a_bridge_that_is_away_is_one_line_with_its_address(node: Node) -> None:
    done = node.hivemind("--bridge", "127.0.0.1:9", "priority", "first", "5")
    assert (done.returncode, done.stdout) == (1, "")
    assert "127.0.0.1:9" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_job_that_waits_goes_before_the_others_and_back_again(node: Node) -> None:
    assert line(node) == {"first": (1, 5), "second": (2, 5)}
    done = node.hivemind("priority", "second", "9")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "second waits with priority 9\n")
    assert line(node) == {"first": (2, 5), "second": (1, 9)}
    assert node.json("priority", "second", "0") == {"task_id": "second", "state": "waiting", "accepted": True}
    assert line(node) == {"first": (1, 5), "second": (2, 0)}
    assert node.json("priority", "second", "0")["accepted"] is True, "the same again is no error"
