"""The points that a fault harness may name: all of them on the way of a job, and silent on a node."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemind_worker import killpoints

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _looked_up_anew() -> Iterator[None]:
    killpoints._harness.cache_clear()
    yield
    killpoints._harness.cache_clear()


def test_every_point_of_the_table_is_reached_and_no_other() -> None:
    reached: set[str] = set()
    for room in ("hivemind_worker", "bridge"):
        for path in (REPOSITORY / room).rglob("*.py"):
            for call in re.findall(r"\breach\((.+)\)$", path.read_text("utf-8"), re.MULTILINE):
                reached |= set(re.findall(r'"([a-z-]+)"', call))
    assert reached == set(killpoints.POINTS)


def test_a_harness_is_told_where_the_process_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str]] = []
    harness = types.ModuleType("tests.chaos_stand_in")
    harness.reach = lambda point, task_id: seen.append((point, task_id))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, harness.__name__, harness)
    monkeypatch.setenv(killpoints.VARIABLE, harness.__name__)
    killpoints.reach("claimed", "t1")
    assert seen == [("claimed", "t1")]


@pytest.mark.parametrize("value", [None, "", "tests.chaos.not_there", "antigravity"])
def test_without_a_harness_nothing_happens(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv(killpoints.VARIABLE, raising=False)
    else:
        monkeypatch.setenv(killpoints.VARIABLE, value)
    killpoints.reach("claimed", "t1")
    assert "antigravity" not in sys.modules
