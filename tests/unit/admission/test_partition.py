"""A node that is cut off ends its containers before the site may start their jobs elsewhere."""

from __future__ import annotations

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


class Cut:
    """A node with one attempt and one intake under way, a clock and a Redis that the test moves."""

    def __init__(self, after: float = 44.0) -> None:
        self.now, self.answers = 1000.0, False
        self.running: Running[Body] = Running()
        self.body, self.intake = Body(), Body()
        self.running.enter("t1", self.body)
        self.running.hold("t1", 1)
        self.running.enter("intake of t2", self.intake)
        self.partition = Partition(self.running, after=after, answers=lambda: self.answers, clock=lambda: self.now)


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


def test_what_is_told_to_end_has_its_grace_and_time_to_spare_before_the_node_counts_as_lost() -> None:
    assert patience(60.0, 10.0, 2.0) + 10.0 < 60.0
