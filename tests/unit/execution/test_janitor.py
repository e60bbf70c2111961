"""What the janitor removes, and what it leaves alone."""

from __future__ import annotations

from hivemind_worker.execution.found import Found
from hivemind_worker.execution.janitor import MIN_AGE, Kept, doomed_containers, doomed_workspaces

NOW = 1_000_000.0
OLD = NOW - MIN_AGE - 1


def container(task_id: str = "a", attempt: str = "1", site: str = "s", node: str = "n", at: float = OLD) -> Found:
    labels = {
        "hivemind.site": site,
        "hivemind.node": node,
        "hivemind.task_id": task_id,
        "hivemind.attempt": attempt,
    }
    return Found(id="1", name="x", status="running", labels=labels, created_at=at)


def doomed(found: Found, *live: tuple[str, int]) -> bool:
    return bool(doomed_containers([found], frozenset(live), site="s", node="n", now=NOW))


def test_a_container_with_a_row_is_left_alone() -> None:
    assert not doomed(container(), ("a", 1))


def test_another_sites_and_another_nodes_containers_are_left_alone() -> None:
    assert not doomed(container(site="other"))
    assert not doomed(container(node="other"))


def test_a_young_container_is_left_alone_because_its_row_may_be_younger_than_the_list() -> None:
    assert not doomed(container(at=NOW - 1))


def test_a_container_without_a_row_and_one_of_an_earlier_attempt_go() -> None:
    assert doomed(container())
    assert doomed(container(), ("a", 2))
    assert doomed(container(attempt="what"), ("a", 1))


def test_workspaces_go_when_nobody_needs_or_keeps_them() -> None:
    kept = [
        Kept("live", 1, OLD, None),
        Kept("young", 1, NOW - 1, None),
        Kept("kept", 1, OLD, NOW + 5),
        Kept("over", 1, OLD, NOW - 5),
        Kept("left", 1, OLD, None),
    ]
    going = doomed_workspaces(kept, frozenset({("live", 1)}), now=NOW)
    assert [one.task_id for one in going] == ["over", "left"]
