"""Whatever comes: nothing is held twice, reservations stand, everybody starts, the same plan twice."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.admission.devices import Devices
from hivemind_worker.admission.policy import plan
from hivemind_worker.admission.rules import Place, Plan, Rules
from hivemind_worker.admission.shares import accrue
from hivemind_worker.domain.limits import OwnersRunning
from hivemind_worker.domain.line import Candidate, Promise
from hivemind_worker.domain.node import Gpu, Node, Reservation, total
from hivemind_worker.domain.resources import GIB, MIB
from hivemind_worker.domain.usage import Usage
from tests.builders import candidate, node

GPUS = (Gpu(uuid="g0", name="x", memory=8 * GIB), Gpu(uuid="g1", name="x", memory=16 * GIB))


@dataclass
class Site:
    """Jobs in virtual time through `plan`, with every promise it makes written down."""

    nodes: list[Node]
    jobs: list[tuple[Candidate, int]]
    rules: Rules
    #: jobs of one owner that may run at once
    most: int | None = None
    rows: dict[str, dict[str, Reservation]] = field(default_factory=dict)
    started: dict[str, int] = field(default_factory=dict)
    promised: dict[str, int] = field(default_factory=dict)
    broken: list[Promise] = field(default_factory=list)
    #: as it stands after the last plan
    line: dict[str, Candidate] = field(default_factory=dict)
    promise: Promise | None = None
    usage: Usage = Usage()  # noqa: RUF009 - frozen
    now: int = 0

    def run(self) -> None:
        self.rows = {each.node: {} for each in self.nodes}
        runs = {job.task_id: run for job, run in self.jobs}
        arrivals = sorted((job.created, number) for number, (job, _) in enumerate(self.jobs))
        ends: list[tuple[int, str, str]] = []
        line, promise = self.line, self.promise
        while arrivals or ends:
            now = min(times[0] for times in (arrivals[:1] + ends[:1]))
            held = [Place(each, self.rows[each.node]) for each in self.nodes]
            self.usage = accrue(self.usage, held, now, self.rules.half_life)
            while ends and ends[0][0] <= now:
                _, name, task_id = heapq.heappop(ends)
                del self.rows[name][task_id]
            while arrivals and arrivals[0][0] <= now:
                job = self.jobs[arrivals.pop(0)[1]][0]
                line[job.task_id] = job
            waiting = sorted(line.values(), key=lambda job: (job.rank, job.task_id))
            places = [Place(each, dict(self.rows[each.node])) for each in self.nodes]
            made = self.plan(waiting, places, now, promise)
            assert made == self.plan(waiting, places[::-1], now, promise)
            assert set(made.passed) == set(line) - {claim.task_id for claim in made.claims}
            promise = made.promise
            if made.broken:
                self.broken.append(made.broken)
            if promise:
                self.promised.setdefault(promise.task_id, promise.at)
            for claim in made.claims:
                assert line[claim.task_id].home in ("", claim.node)
                del line[claim.task_id]
                self.rows[claim.node][claim.task_id] = claim.row
                self.started[claim.task_id] = now
                heapq.heappush(ends, (now + runs[claim.task_id], claim.node, claim.task_id))
            self.promise, self.now = promise, now
            self.check()

    def plan(self, waiting: list[Candidate], places: list[Place], now: int, promise: Promise | None) -> Plan:
        owners = OwnersRunning.of(self.most, (row for rows in self.rows.values() for row in rows.values()))
        return plan(
            waiting,
            places,
            worker="w",
            now=now,
            rules=self.rules,
            promise=promise,
            owners=owners,
            usage=self.usage,
        )

    def check(self) -> None:
        """Nothing is held twice, and no owner runs more than it may."""
        running = Counter(row.owner for rows in self.rows.values() for row in rows.values())
        assert self.most is None or max(running.values(), default=0) <= self.most
        for each in self.nodes:
            held = list(self.rows[each.node].values())
            # Idle cores are lent, and whoever starts on its own takes them back.
            assert each.allocatable.covers(total(held).model_copy(update={"spare": 0}))
            devices = Devices.of(each.gpus, held, each.devices_at_once)
            assert all(room.free >= 0 for room in devices.rooms)
            whole = [uuid for row in held if not row.gpu_memory for uuid in row.gpus]
            assert len(whole) == len(set(whole))


def _job(number: int, wanted: dict[str, Any], shape: dict[str, Any], home: str = "") -> tuple[Candidate, int]:
    limit = wanted["limit"]
    created = wanted["at"] * 1000
    job = candidate(
        f"j{number}",
        rank=created - wanted["priority"] * 60_000.0,
        created=created,
        owner=wanted["owner"],
        timeout=float(limit),
        predicted=wanted["predicted"],
        home=home,
        **shape,
    )
    return job, max(1, int(limit * 1000 * wanted["used"]))


shapes = st.one_of(
    st.fixed_dictionaries({"cpu": st.sampled_from([0.5, 1.0, 2.0, 3.0, 4.0]), "memory": st.sampled_from([64 * MIB])}),
    st.fixed_dictionaries({"cpu": st.just(1.0), "memory": st.integers(6 * MIB, 1024 * MIB)}),
    st.fixed_dictionaries({"cpu": st.sampled_from([1.0, 4.0]), "reclaimable": st.just(True)}),
    st.fixed_dictionaries({"cpu": st.just(0.5), "gpus": st.integers(1, 2)}),
    st.fixed_dictionaries(
        {"cpu": st.just(0.5), "gpus": st.integers(1, 2), "gpu_memory": st.sampled_from([2 * GIB, 6 * GIB])}
    ),
)
wishes = st.fixed_dictionaries(
    {
        "at": st.integers(0, 600),
        "limit": st.sampled_from([10, 60, 200, 1000]),
        "used": st.sampled_from([0.01, 0.3, 1.0]),
        "priority": st.sampled_from([0, 0, 5, 9]),
        "owner": st.sampled_from(["ann", "bob"]),
        "predicted": st.sampled_from([None, 1.0, 50.0, 5000.0]),
    }
)
workloads = st.lists(st.tuples(wishes, shapes), min_size=1, max_size=25)


@given(workloads, st.booleans(), st.booleans(), st.sampled_from([None, 1, 2]))
def test_reservations_stand_nothing_is_held_twice_and_everybody_starts(
    wanted: list[tuple[dict[str, Any], dict[str, Any]]], two_nodes: bool, weighted: bool, most: int | None
) -> None:
    nodes = [node("n1", gpus=GPUS)] + ([node("n2", millicores=2000)] if two_nodes else [])
    rules = Rules(weights={"ann": 1.0, "bob": 3.0} if weighted else {})
    site = Site(nodes, [_job(number, *each) for number, each in enumerate(wanted)], rules, most)
    site.run()
    assert set(site.started) == {job.task_id for job, _ in site.jobs}
    assert site.broken == []
    assert all(site.started[task_id] <= at for task_id, at in site.promised.items())


@given(st.lists(st.tuples(wishes, shapes, st.sampled_from(["", "n1", "n2"])), min_size=1, max_size=25), st.booleans())
def test_homes_change_nothing_of_that_and_no_job_starts_away_from_its_own(
    wanted: list[tuple[dict[str, Any], dict[str, Any], str]], weighted: bool
) -> None:
    rules = Rules(weights={"ann": 1.0, "bob": 3.0} if weighted else {})
    nodes = [
        node("n1", gpus=GPUS),
        node("n2", gpus=tuple(gpu.model_copy(update={"uuid": f"{gpu.uuid}'"}) for gpu in GPUS)),
    ]
    site = Site(nodes, [_job(number, *each) for number, each in enumerate(wanted)], rules)
    site.run()
    assert set(site.started) == {job.task_id for job, _ in site.jobs}
    assert site.broken == []
    assert all(site.started[task_id] <= at for task_id, at in site.promised.items())
