"""A node that is cut off ends its containers before the site may start their jobs elsewhere."""

from __future__ import annotations

from collections.abc import Collection

from hivemind_worker.admission.partition import AGAIN, Partition, patience
from hivemind_worker.admission.running import Running


class Body:
    """A handle that counts how often it was told to end."""

    def __init__(self) -> None:
        self.told = 0

    def stop(self, grace: float) -> None:
        raise AssertionError("nobody asked for a stop")

    def detach(self) -> None:
        raise AssertionError("the worker does not leave")

    def fence(self) -> None:
        raise AssertionError("nothing is known of the record")

    def cut_off(self) -> None:
        self.told += 1


class Left:
    """What was left running, and what was done to it; `beat`: when a worker of the node last beat."""

    def __init__(self, cut: Cut, beat: float) -> None:
        self._cut, self.beat = cut, beat
        self.ended: list[str] = []

    def note(self, site: str, ago: float) -> None:
        assert site == "site"
        self.beat = self._cut.now - ago

    def silent(self) -> float:
        return self._cut.now - self.beat

    def end(self, held: Collection[str], *, kill: bool) -> int:
        assert "t1" in held
        self.ended.append("kill" if kill else "term")
        return 1


class Cut:
    """A node with one attempt and one intake under way, a clock and a Redis that the test moves."""

    def __init__(self, after: float = 44.0, *, silent: float = 0.0) -> None:
        self.now, self.answers = 1000.0, False
        self.running: Running[Body] = Running()
        self.body, self.intake = Body(), Body()
        self.running.enter("t1", self.body)
        self.running.hold("t1", 1)
        self.running.enter("intake of t2", self.intake)
        self.left = Left(self, self.now - silent)
        self.partition = Partition(
            self.running,
            self.left,
            site_id=lambda: "site",
            after=after,
            grace=10.0,
            answers=lambda: self.answers,
            clock=lambda: self.now,
        )


def test_containers_end_once_the_last_heartbeat_is_too_old_and_no_sooner() -> None:
    cut = Cut()
    cut.partition.heard(1000.0)
    cut.now = 1043.0
    assert cut.partition.look() == 1.0
    assert cut.body.told == 0
    cut.now = 1044.0
    assert cut.partition.look() == AGAIN
    assert (cut.body.told, cut.intake.told) == (1, 0)


def test_a_body_that_comes_later_in_the_same_outage_is_told_too() -> None:
    cut = Cut()
    cut.now += 50
    cut.partition.look()
    late = Body()
    cut.running.enter("t3", late)
    cut.running.hold("t3", 1)
    cut.partition.look()
    assert late.told == 1


def test_a_late_heartbeat_alone_ends_nothing_while_redis_answers() -> None:
    cut = Cut()
    cut.answers = True  # the worker was frozen, or is slow: its rows may be a sibling's by now
    cut.now += 1000
    assert cut.partition.look() == AGAIN
    assert cut.body.told == 0


def test_a_heartbeat_begins_the_count_anew() -> None:
    cut = Cut()
    cut.now += 43
    cut.partition.heard(cut.now - 1)
    cut.now += 42
    assert cut.partition.look() == 1.0
    assert cut.body.told == 0


def test_a_worker_that_comes_up_while_cut_off_goes_on_counting_and_may_beat_first() -> None:
    cut = Cut(silent=42.0)
    assert cut.partition.look() == 2.0
    cut.now += 2.0
    cut.partition.look()
    assert cut.left.ended == ["term"]
    cut.now += 10.0
    cut.partition.look()
    assert cut.left.ended == ["term", "kill"]
    late = Cut(silent=5000.0)
    assert late.partition.look() == AGAIN
    late.answers = True
    late.now += AGAIN
    late.partition.look()
    assert late.left.ended == []


def test_what_no_body_holds_is_a_siblings_that_was_heard() -> None:
    cut = Cut(silent=42.0)
    cut.now += 5.0
    cut.left.beat = cut.now - 43.0
    cut.partition.look()
    assert (cut.left.ended, cut.body.told) == ([], 1)


def test_what_is_told_to_end_has_its_grace_and_time_to_spare_before_the_node_counts_as_lost() -> None:
    assert patience(60.0, 10.0, 2.0) + 10.0 < 60.0
