"""What `nodes` says: the site in a table, one node in full, and what a table has no room for."""

from __future__ import annotations

import time
from typing import Any

from hivemind_cli.commands.nodes import FIGURES, HEAD, remarks, row
from hivemind_cli.node_detail import described
from hivemind_cli.output import counted, table, until, without
from hivemind_worker.domain.node import Gpu, Node, NodeCaps, NodeState, node_view
from hivemind_worker.domain.resources import GIB
from tests.builders import node
from tests.builders import row as reservation

LARGE = Gpu(uuid="GPU-a", name="A card", memory=16 * GIB, reserved=GIB, score=130.0)
ILL = Gpu(uuid="GPU-b", name="\x1b[2Jcard", memory=8 * GIB, index=1, trouble="it fell off the bus")
SHARE = reservation(gpus=("GPU-a",), gpu_memory=2 * GIB).model_copy(
    update={"deadline": int((time.time() + 36_000) * 1000)}
)


def shown(here: Node | None = None, **changes: Any) -> dict[str, Any]:
    """A node with one job, as every surface shows it."""
    there = (here or node(gpus=(LARGE, ILL), pids=4194304)).model_copy(update=changes)
    return node_view(there, {"train": SHARE}, 3)


def line(view: dict[str, Any], word: str) -> list[str]:
    return next(text for text in described(view, None) if text.startswith(word)).split()


def test_figures_stand_under_each_other_and_large_ones_are_written_out() -> None:
    head, *rows = table(HEAD, [row(shown()), row(shown(node("another", millicores=64000)))], None, FIGURES)
    assert [text.index("/4 ") for text in rows[:1]] == [rows[1].index("/64 ") + 1]
    assert head.index("CPU") + 3 == rows[0].index("/4 ") + 2
    assert line(shown(), "processes")[3] == "4194304"


def test_a_node_in_full_says_what_is_free_capped_and_kept() -> None:
    capped = shown(caps=NodeCaps(millicores=2500), allocatable=node(millicores=2500).allocatable)
    assert line(capped, "cores") == ["cores", "1", "1.5", "2.5", "2.5", "-", "4", "0%"]


def test_what_jobs_hold_beyond_a_lowered_cap_is_not_less_than_nothing_free() -> None:
    lowered = shown(caps=NodeCaps(millicores=500), allocatable=node(millicores=500).allocatable)
    assert line(lowered, "cores")[1:4] == ["1", "0", "0.5"]


def test_each_device_says_who_is_on_it_and_nothing_reaches_the_terminal_as_control() -> None:
    lines = list(described(shown(), None))
    assert any("takes jobs" in text and "train (2G)" in text and "130" in text for text in lines)
    assert any("ill" in text and "GPU-b" in text for text in lines)
    assert "\x1b" not in "".join([*lines, *remarks(shown())])


def test_a_draining_node_says_until_when_it_has_jobs() -> None:
    drained = shown(state=NodeState.DRAINING)
    told = next(text for text in remarks(drained) if "takes no new jobs" in text)
    assert "1 job left, empty by" in told
    assert "UTC (in " in told
    empty = node_view(node(state=NodeState.DRAINING), {}, 0)
    assert "n1: takes no new jobs; no job is left" in list(remarks(empty))


def test_behaviour_is_said_where_the_node_tells_it() -> None:
    told = "\n".join(described(shown(on_partition="stop", durability="everysec"), None))
    assert "it stops its containers" in told
    assert "but for the last second or two" in told
    assert "cut off" not in "\n".join(described(shown(), None))


def test_columns_in_which_all_is_as_usual_are_left_out() -> None:
    usual = {"GPUS": "-", "OWNER": "-"}
    assert without(("ID", "GPUS", "OWNER"), [("a", "-", "-"), ("b", "1", "-")], usual) == (
        ["ID", "GPUS"], [["a", "-"], ["b", "1"]],
    )  # fmt: skip


def test_one_is_one_and_a_moment_that_has_passed_is_due() -> None:
    assert [counted(1, "core"), counted(1.5, "core"), counted(0, "job")] == ["1 core", "1.5 cores", "0 jobs"]
    assert until("2001-02-03T04:05:06.000Z") == "2001-02-03 04:05 UTC (due)"
