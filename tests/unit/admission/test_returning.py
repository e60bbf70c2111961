"""A node that was away admits once what it holds no longer has ended, and not for ever only then."""

from __future__ import annotations

from hivemind_worker.admission.returning import PATIENCE, Return


class Away:
    """A node that counts as lost after 60 s, with a clock that the test moves."""

    def __init__(self) -> None:
        self.now, self.woken = 1000.0, 0
        self.back = Return(after=58.0, wake=self.wake, clock=lambda: self.now)

    def wake(self) -> None:
        self.woken += 1

    def swept(self) -> None:
        self.back.swept(self.now)

    def admits(self, *, engine: bool = True) -> bool:
        return self.back.over(engine=engine)


def test_at_the_start_the_first_round_comes_first_and_wakes_admission() -> None:
    node = Away()
    assert not node.admits()
    node.swept()
    assert node.woken == 1
    assert node.admits()
    node.swept()
    assert node.woken == 1


def test_a_node_that_may_have_been_lost_waits_for_a_round_that_began_after_it_was_heard() -> None:
    node = Away()
    node.swept()
    node.now += 57.0
    node.back.heard()
    assert node.admits()
    before = node.now + 58.0
    node.now = before + 1
    node.back.heard()
    node.back.swept(before)
    assert not node.admits()
    node.swept()
    assert node.admits()


def test_after_the_engine_was_away_a_round_comes_first() -> None:
    node = Away()
    node.swept()
    assert node.admits()
    assert not node.admits(engine=False)
    node.now += 1
    assert not node.admits(engine=False)
    assert not node.admits()
    node.swept()
    assert node.admits()


def test_a_janitor_that_never_comes_through_does_not_keep_the_node_from_its_work() -> None:
    node = Away()
    node.now += PATIENCE - 1
    assert not node.admits()
    node.now += 1
    assert node.admits()
