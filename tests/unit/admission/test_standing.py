"""Where owners take turns, a job's place is its turn, said as far as it is known."""

from __future__ import annotations

from typing import Any

from hivemind_worker.admission.rules import Place, Rules
from hivemind_worker.admission.standing import Standing, standing_of
from hivemind_worker.domain.line import Candidate, Front
from tests.builders import candidate, node

RULES = Rules(weights={"ann": 1.0, "bob": 3.0})
HERE = [Place(node(), {})]


def jobs(owner: str, number: int, after: int = 0) -> list[Candidate]:
    return [candidate(f"{owner}{i}", rank=float(after + i), created=0, owner=owner) for i in range(1, number + 1)]


def standing(line: list[Candidate], head: str = "", **front: Any) -> Standing:
    return standing_of(Front(tuple(line), looked=len(line), **front), HERE, 1000, RULES, head=head)


def in_order(found: Standing) -> list[str]:
    return sorted(found.places, key=lambda each: found.places[each])


def test_places_follow_the_turns_and_not_the_arrival() -> None:
    found = standing([*jobs("ann", 4), *jobs("bob", 6, after=100)])
    assert in_order(found) == ["bob1", "ann1", "bob2", "bob3", "bob4", "ann2", "bob5", "bob6", "ann3", "ann4"]
    assert found.places["bob1"] == 1


def test_who_has_the_reservation_is_first_and_counts_as_its_owners() -> None:
    found = standing([*jobs("ann", 2), *jobs("bob", 2, after=100)], head="ann2")
    assert in_order(found)[0] == "ann2"
    assert in_order(found).index("ann1") == 3


def test_places_end_where_the_part_of_an_owner_does_of_whom_more_wait() -> None:
    line = [*jobs("ann", 4), *jobs("bob", 4, after=100)]
    assert in_order(standing(line, longer=frozenset({"bob"}))) == ["bob1", "ann1", "bob2", "bob3", "bob4"]
    assert len(standing(line, longer=frozenset({"ann"})).places) == 8
    assert standing(line, longer=frozenset({"cleo"})).places == {}
    assert standing(line, unseen_owners=1).places == {}


def test_behind_the_places_an_owners_job_is_about_where_its_turns_go_on_to() -> None:
    found = standing([*jobs("ann", 4), *jobs("bob", 4, after=100)], longer=frozenset({"bob"}))
    assert (found.about("bob", 8), found.about("ann", 4)) == (10, 20)
    assert found.about("cleo", 1) is None


def test_where_no_node_is_open_there_are_places_all_the_same() -> None:
    assert standing_of(Front(tuple(jobs("ann", 2)), 2), [], 1000, RULES).places == {"ann1": 1, "ann2": 2}


def test_who_starts_sooner_has_the_earlier_place_but_the_head_is_first() -> None:
    found = standing([*jobs("ann", 2), *jobs("bob", 2, after=100)])
    assert in_order(found) == ["bob1", "ann1", "bob2", "ann2"]
    starts = {"ann2": 1, "bob1": 5, "ann1": 5}
    assert in_order(found.by_starts(starts)) == ["ann2", "bob1", "ann1", "bob2"]
    assert in_order(found.by_starts(starts, "bob2")) == ["bob2", "ann2", "bob1", "ann1"]
    assert found.by_starts(starts).owners == found.owners
