"""What the janitor removes, and what it leaves alone."""

from __future__ import annotations

import pytest

from hivemind_worker.execution.found import Found
from hivemind_worker.execution.janitor import Kept, doomed_containers, doomed_workspaces

NOW = 1_000_000.0


def container(
    task_id: str = "a", attempt: str = "1", site: str = "s", node: str = "n", status: str = "running"
) -> Found:
    labels = {
        "hivemind.site": site,
        "hivemind.node": node,
        "hivemind.task_id": task_id,
        "hivemind.attempt": attempt,
    }
    return Found(id="1", name="x", status=status, labels=labels)


def doomed(found: Found, *live: tuple[str, int], bodies: tuple[str, ...] = ()) -> bool:
    return bool(doomed_containers([found], frozenset(live), bodies, site="s", nodes={"n", "earlier"}))


def test_a_container_with_a_row_is_left_alone() -> None:
    assert not doomed(container(), ("a", 1))
    assert not doomed(container(status="exited"), ("a", 1))


def test_another_sites_and_another_nodes_containers_are_left_alone() -> None:
    assert not doomed(container(site="other"))
    assert not doomed(container(node="other"))


def test_what_an_earlier_name_of_the_node_left_goes_once_no_row_of_that_name_stands_behind_it() -> None:
    assert not doomed(container(node="earlier"), ("a", 1))
    assert doomed(container(node="earlier"), ("a", 2))


@pytest.mark.parametrize("status", ["created", "running", "paused", "exited", "dead"])
def test_a_container_without_a_row_goes_whatever_it_does(status: str) -> None:
    assert doomed(container(status=status))


@pytest.mark.parametrize("attempt", ["2", "0", "", "what", "-1", "²", "1e0"])
def test_a_container_whose_label_claims_another_attempt_than_the_row_goes(attempt: str) -> None:
    assert doomed(container(attempt=attempt), ("a", 1))


def test_a_body_that_cleans_up_after_its_end_is_not_disturbed() -> None:
    assert not doomed(container(status="exited"), bodies=("a",))


def test_a_body_does_not_protect_a_running_container_whose_attempt_was_fenced() -> None:
    assert doomed(container(), bodies=("a",))
    assert doomed(container(), ("a", 2), bodies=("a",))


def test_workspaces_go_when_nobody_needs_or_keeps_them() -> None:
    kept = [
        Kept("live", 1, None),
        Kept("cleaning", 1, None),
        Kept("kept", 1, NOW + 5),
        Kept("over", 1, NOW - 5),
        Kept("left", 1, None),
        Kept("live", 2, None),
    ]
    going = doomed_workspaces(kept, frozenset({("live", 1)}), ("cleaning",), now=NOW)
    assert [(one.task_id, one.attempt) for one in going] == [("over", 1), ("left", 1), ("live", 2)]
