"""The live benchmark must be able to fail: caps beyond what is lent, and starts after the reservation, are named."""

from __future__ import annotations

import pytest

from bench.live import Mix, failures, promised, specs
from bench.witness import Caps, Promised, Samples, note, watching
from hivemind_worker.domain.job import Job, State, Times
from hivemind_worker.domain.resources import MIB
from tests.builders import assignment, node

LENT = node(millicores=2000).allocatable


def test_a_sum_of_caps_beyond_what_is_lent_is_named_with_who_has_them() -> None:
    samples = Samples()
    note(samples, {"hm-a-1": Caps(1000, MIB, 1), "hm-b-1": Caps(1000, MIB, 1)}, LENT)
    assert samples.exceeded == []
    note(samples, {"hm-a-1": Caps(1000, MIB, 1), "hm-b-1": Caps(1001, MIB, 1)}, LENT)
    assert samples.exceeded == ["moment 2: millicores: 2001 of 2000 by hm-a-1, hm-b-1"]
    assert samples.most == Caps(2001, 2 * MIB, 2)


@pytest.mark.parametrize("name", ["millicores", "memory", "slots"])
def test_every_kind_of_cap_counts(name: str) -> None:
    (line,) = Caps(**{name: getattr(LENT, name) + 1}).beyond(LENT)
    assert line.startswith(f"{name}: ")


def began(task_id: str, at: int) -> Job:
    return Job(assignment=assignment(task_id), state=State.COMPLETED, times=Times(created=0, admitted=at))


def test_a_large_job_that_began_after_its_reservation_is_named() -> None:
    found = promised(
        [began("a", 1000), began("b", 2001), began("c", 9000)], {"a": Promised(1000, 0), "b": Promised(2000, 500)}
    )
    assert (found["promised"], found["broken"]) == (2, ["b: 0.001 s after its reservation, made 1.5 s ahead"])
    assert failures({"exceeded": [], "failed": [], **found}) == found["broken"]


def test_the_large_jobs_take_all_of_the_node_and_the_small_ones_less_than_half() -> None:
    jobs = specs(node(millicores=2000), Mix(small=200, large=9))
    large = [job["requests"] for job in jobs if job["task_id"].startswith("large-")]
    small = [job["requests"] for job in jobs if job["task_id"].startswith("small-")]
    assert (len(large), len(small)) == (9, 200)
    assert {(each["cpu"], each["memory"]) for each in large} == {(2.0, LENT.memory)}
    assert max(each["cpu"] for each in small) < 1.0
    assert max(each["memory"] for each in small) < LENT.memory / 2


def test_a_watch_that_cannot_look_fails_the_run() -> None:
    def blind() -> None:
        raise RuntimeError("the engine is away")

    with pytest.raises(RuntimeError, match="away"), watching(blind, 0.001):
        pass
