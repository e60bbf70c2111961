"""Owners' shares: what each has over time is as the weights say, whatever the sizes, and nobody starves."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.admission.policy import plan
from hivemind_worker.admission.rules import Place, Rules
from hivemind_worker.admission.shares import ACCOUNTS, accrue
from hivemind_worker.domain.line import Candidate, Promise
from hivemind_worker.domain.node import Gpu, Node, Reservation
from hivemind_worker.domain.resources import GIB
from hivemind_worker.domain.usage import Account, Usage, read_usage, write_usage
from tests.builders import candidate, node, row

HOUR = 3600.0
WEIGHTS = {"ann": 1.0, "bob": 3.0}


@dataclass
class Flood:
    """Owners who always have as many jobs waiting as could ever start, in virtual time. `sizes`: cores and GiB."""

    have: Node
    sizes: dict[str, tuple[float, float]]
    rules: Rules
    #: seconds that jobs run, at random between these, and how many times as much they declare
    runs: tuple[float, float] = (30.0, 170.0)
    declared: float = 1.5
    rows: dict[str, Reservation] = field(default_factory=dict)
    used: dict[str, list[float]] = field(default_factory=dict)
    starts: list[tuple[int, str]] = field(default_factory=list)
    broken: int = 0

    def run(self, seconds: float) -> None:
        dice, now, made, promise, usage = random.Random(11), 0, 0, None, Usage()
        waiting: dict[str, tuple[Candidate, float]] = {}
        ends: list[tuple[int, str]] = []
        while now < seconds * 1000:
            for owner, (cores, memory) in self.sizes.items():
                while sum(job.owner == owner for job, _ in waiting.values()) < self.have.allocatable.slots:
                    made, ran = made + 1, dice.uniform(*self.runs)
                    job = candidate(
                        f"{made:06}",
                        rank=float(made),
                        created=now,
                        owner=owner,
                        timeout=ran * self.declared,
                        cpu=cores,
                        memory=int(memory * GIB),
                    )
                    waiting[job.task_id] = job, ran
            places = [Place(self.have, dict(self.rows))]
            line = [job for job, _ in waiting.values()]
            found = plan(line, places, worker="w", now=now, rules=self.rules, promise=promise, usage=usage)
            promise, self.broken = found.promise, self.broken + (found.broken is not None)
            for claim in found.claims:
                job, ran = waiting.pop(claim.task_id)
                self.rows[claim.task_id] = claim.row
                self.starts.append((now, job.owner))
                heapq.heappush(ends, (now + int(ran * 1000), claim.task_id))
                used = self.used.setdefault(job.owner, [0.0, 0.0])
                used[0] += ran * claim.row.millicores / self.have.allocatable.millicores
                used[1] += ran * claim.row.memory / self.have.allocatable.memory
            now = ends[0][0]
            usage = accrue(usage, [Place(self.have, dict(self.rows))], now, self.rules.half_life)
            while ends and ends[0][0] <= now:
                del self.rows[heapq.heappop(ends)[1]]

    def ratio(self) -> float:
        return max(self.used["bob"]) / max(self.used["ann"])


def flooded(slots: int, ann: tuple[float, float], bob: tuple[float, float], seconds: float = 12_000) -> Flood:
    have = node(millicores=slots * 1000, memory=slots * GIB, slots=slots, pids=100_000)
    made = Flood(have, {"ann": ann, "bob": bob}, Rules(weights=WEIGHTS))
    made.run(seconds)
    assert made.broken == 0
    return made


@pytest.mark.parametrize("slots", [2, 3, 5, 6, 10, 16])
def test_jobs_of_one_size_are_held_as_the_weights_say_though_whole_numbers_seldom_are(slots: int) -> None:
    assert flooded(slots, (1.0, 0.1), (1.0, 0.1), 24_000).ratio() == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize(
    ("ann", "bob"),
    [((1.0, 0.1), (4.0, 0.1)), ((1.0, 0.1), (8.0, 0.1)), ((4.0, 0.1), (1.0, 0.1)), ((2.0, 0.1), (3.0, 0.1))],
    ids=["1 and 4 cores", "1 and 8 cores", "4 and 1 cores", "2 and 3 cores"],
)
def test_jobs_of_unequal_sizes_are_too_though_the_small_ones_fit_wherever_one_ended(
    ann: tuple[float, float], bob: tuple[float, float]
) -> None:
    assert flooded(16, ann, bob).ratio() == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize(("ann", "bob"), [((1.0, 0.25), (0.25, 1.0)), ((0.5, 2.0), (3.0, 0.5))])
def test_so_are_jobs_that_take_most_of_different_resources(ann: tuple[float, float], bob: tuple[float, float]) -> None:
    assert flooded(16, ann, bob).ratio() == pytest.approx(3.0, rel=0.05)


def test_so_are_jobs_that_fill_the_node_and_declare_more_than_they_run() -> None:
    assert flooded(4, (4.0, 1.0), (4.0, 1.0), 60_000).ratio() == pytest.approx(3.0, rel=0.05)


def test_an_owner_of_next_to_no_weight_has_its_turn_within_a_half_life() -> None:
    weights, have = {"ann": 0.001, "bob": 1000.0}, node(millicores=1000, slots=1)
    made = Flood(have, {"ann": (1.0, 0.1), "bob": (1.0, 0.1)}, Rules(weights=weights, half_life=HOUR))
    made.run(8 * HOUR)
    starts = [0, *(at for at, owner in made.starts if owner == "ann")]
    assert len(starts) >= 6
    assert max(after - before for before, after in pairwise(starts)) <= 1_000 * (HOUR + 400)


def test_who_had_more_than_its_share_lets_the_others_catch_up_and_a_half_life_forgets_half_of_it() -> None:
    have, rules = node(), Rules(weights={"ann": 1.0}, half_life=HOUR)
    line = [candidate(f"a{at}", rank=at, owner="ann") for at in range(9)]
    line += [candidate(f"b{at}", rank=9 + at, owner="bob") for at in range(9)]
    used = Usage(1_000, {"ann": Account((4000.0, 0.0, 0.0, 0.0), 1_000)})

    def started(now: int) -> list[str]:
        made = plan(line, [Place(have, {})], worker="w", now=now, rules=rules, usage=used)
        return [claim.row.owner for claim in made.claims]

    assert started(2_000) == ["bob"] * 4
    assert sorted(started(2_000 + 20 * 3_600_000)) == ["ann", "ann", "bob", "bob"]


def test_who_is_ahead_lets_a_larger_job_of_who_is_behind_come_by() -> None:
    """Its small jobs would else take every core that frees, and the large one would wait out its promise each time."""
    rules, used = Rules(weights=WEIGHTS), Usage(1, {"ann": Account((9000.0, 0.0, 0.0, 0.0), 1)})
    held = {"x": row(cpu=1.0, owner="ann").model_copy(update={"deadline": 400_000})}
    held["y"] = row(cpu=2.0, owner="ann").model_copy(update={"deadline": 3_000_000, "expected": 200_000})
    line = [candidate("large", rank=0, owner="bob", cpu=4.0), candidate("small", rank=1, owner="ann", timeout=300.0)]

    def started(line: list[Candidate], usage: Usage) -> list[str]:
        made = plan(line, [Place(node(), held)], worker="w", now=1_000, rules=rules, usage=usage)
        assert made.promise == Promise("large", "n1", 3_000_000)
        return [claim.task_id for claim in made.claims]

    assert started(line, Usage(1, {"bob": used.owners["ann"]})) == ["small"], "the large one is promised its start"
    assert started(line, used) == ["small"], "it ends before the large one could probably start"
    assert started([line[0], replace(line[1], timeout_seconds=500.0)], used) == []


def test_who_is_ahead_takes_no_device_that_a_job_of_who_is_behind_waits_for() -> None:
    gpus = tuple(Gpu(uuid=f"g{at}", name="x", memory=16 * GIB) for at in range(2))
    held = {"x": row(gpus=("g0",), owner="ann").model_copy(update={"deadline": 400_000, "expected": 100_000})}
    used = Usage(1, {"ann": Account((0.0, 0.0, 0.0, 9000.0), 1)})
    line = [
        candidate("large", rank=0, owner="bob", cpu=0.5, gpus=2),
        candidate("small", rank=1, owner="ann", cpu=0.5, gpus=1, timeout=300.0),
        candidate("without", rank=2, owner="ann", cpu=0.5, timeout=300.0),
    ]
    made = plan(line, [Place(node(gpus=gpus), held)], worker="w", now=1_000, rules=Rules(weights=WEIGHTS), usage=used)
    assert [claim.task_id for claim in made.claims] == ["without"]


def test_who_is_not_named_has_what_all_have_who_are_not() -> None:
    line = [candidate(f"{owner}{at}", rank=at, owner=owner) for at in range(9) for owner in ("ann", "bob")]
    for weights, ann in (({"*": 1.0}, 2), ({"*": 3.0, "bob": 1.0}, 3), ({"ann": 3.0}, 3)):
        made = plan(line, [Place(node(), {})], worker="w", now=1, rules=Rules(weights=weights))
        assert [claim.row.owner for claim in made.claims].count("ann") == ann


def test_without_weights_use_changes_nothing() -> None:
    line = [candidate(f"a{at}", owner="ann") for at in range(4)] + [candidate(f"b{at}", owner="bob") for at in range(4)]
    used = Usage(1, {"ann": Account((1e6, 1e6, 1e6, 1e6), 1)})
    places = [Place(node(), {"x": row(cpu=2.0, owner="ann")})]
    assert plan(line, places, worker="w", now=2, usage=used) == plan(line, places, worker="w", now=2)


def test_an_account_is_what_was_held_for_how_long_as_a_part_of_the_site() -> None:
    places = [Place(node(), {"x": row(cpu=2.0, owner="ann")}), Place(node("n2", millicores=12_000), {})]
    begun = accrue(Usage(), places, 1_000, HOUR)
    assert begun.at == 1_000
    later = accrue(begun, places, 11_000, HOUR)
    assert later.owners["ann"].seconds[0] == pytest.approx(10 * 2 / 16, rel=0.01)
    assert later.owners["ann"].last == 11_000
    ended = accrue(later, [Place(node(), {})], 11_000 + 3_600_000, HOUR)
    assert ended.owners["ann"].seconds[0] == pytest.approx(later.owners["ann"].seconds[0] / 2)
    assert ended.owners["ann"].last == 11_000
    assert accrue(later, places, 5_000, HOUR).owners == {"ann": Account(later.owners["ann"].seconds, 5_000)}, "set back"
    assert accrue(ended, [], 10**12, HOUR).owners == {}


def test_no_more_accounts_are_kept_than_are_needed_the_largest() -> None:
    many = {f"o{at}": Account((float(at), 0.0, 0.0, 0.0), 1) for at in range(1, 2 * ACCOUNTS)}
    kept = accrue(Usage(1, many), [], 2, HOUR).owners
    assert len(kept) == ACCOUNTS
    assert min(account.seconds[0] for account in kept.values()) > ACCOUNTS - 2


seconds = st.floats(0, 1e9).map(lambda value: round(value, 3))


@given(st.integers(1, 2**43), st.dictionaries(st.text(), st.tuples(seconds, seconds, seconds, seconds)))
def test_accounts_are_read_as_they_were_written(at: int, owners: dict[str, tuple[float, float, float, float]]) -> None:
    usage = Usage(at, {owner: Account(each, at) for owner, each in owners.items()})
    assert read_usage(write_usage(usage).encode()) == usage


@pytest.mark.parametrize(
    "damaged",
    [b"", b"x", b"[]", b"{}", b'{"at":1,"owners":{"a":[1,2]}}', b'{"at":1,"owners":{"a":[NaN,0,0,0,1]}}'],
)
def test_accounts_that_cannot_be_read_are_no_accounts(damaged: bytes) -> None:
    with pytest.raises((ValueError, TypeError, KeyError, AttributeError)):
        read_usage(damaged)
