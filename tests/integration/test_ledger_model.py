"""The ledger against a model of it: every resource, shares of devices and owners' limits, in any order of steps."""

from __future__ import annotations

import multiprocessing
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as patience
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from hivemind_worker.admission.devices import Devices, free_on
from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.errors import StaleAttempt
from hivemind_worker.domain.job import HELD, State
from hivemind_worker.domain.line import Claim
from hivemind_worker.domain.node import Gpu, Node, Reservation, total
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.resources import GIB, MIB, Amount, Request
from hivemind_worker.domain.retry import Step
from hivemind_worker.settings import Settings, load_settings
from tests.builders import new_job, node, request

OK = Outcome(cause=Cause.OK, exit_code=0)
LOST = Outcome(cause=Cause.NODE_LOST)
NODES, WORKERS, OWNERS = ("n1", "n2"), ("w1", "w2"), ("", "ann", "bob")
GPUS = tuple(Gpu(uuid=f"g{i}", name="x", memory=size * GIB, reserved=MIB) for i, size in enumerate((4, 8)))
LIMIT = 3

REQUESTS = st.builds(
    request,
    cpu=st.sampled_from([0.5, 1.0, 2.0]),
    memory=st.sampled_from([64 * MIB, 256 * MIB]),
    disk=st.sampled_from([MIB, 64 * MIB]),
    pids=st.sampled_from([16, 64]),
    reclaimable=st.booleans(),
    gpus=st.just(0),
) | st.builds(request, gpus=st.integers(1, 2), gpu_memory=st.sampled_from([0, GIB, 3 * GIB]))


@dataclass
class Known:
    """What the model knows of one job."""

    asked: Request
    owner: str
    attempt: int = 0
    held: tuple[str, Reservation] | None = None
    ended: bool = False


def fits(here: Node, rows: Sequence[Reservation], row: Reservation) -> bool:
    """Whether the row may be added, told from sums alone."""
    left = here.allocatable - total(list(rows))
    cores = left.spare if row.reclaimable else left.millicores
    plain = (
        cores >= row.millicores and left.memory >= row.memory and left.disk >= row.disk and left.pids >= row.pids
        and left.slots >= 1
    )  # fmt: skip
    if not plain or len(set(row.gpus)) != len(row.gpus):
        return False
    devices = Devices.of(here.gpus, rows, here.devices_at_once)
    rooms = {room.uuid: room for room in devices.rooms}
    asked = Request.from_shape(f"1000:{64 * MIB}:{len(row.gpus)}:{row.gpu_memory}:{MIB}:1")
    if not all(uuid in rooms and rooms[uuid].holds(asked) for uuid in row.gpus):
        return False
    fresh = sum(1 for uuid in row.gpus if rooms[uuid].jobs == 0)
    used = {uuid for each in rows for uuid in each.gpus} & {gpu.uuid for gpu in here.gpus if not gpu.trouble}
    return fresh == 0 or len(used) + fresh <= here.devices_at_once


class Ledgers(RuleBasedStateMachine):
    """Two nodes, two workers on each, three owners."""

    def __init__(self, stores: Stores) -> None:
        super().__init__()
        self.stores = stores
        self.jobs: dict[str, Known] = {}
        self.stores.redis.flushall()

    @initialize()
    def nodes_come_up(self) -> None:
        for name in NODES:
            self.announce(name, frozenset())

    @rule(name=st.sampled_from(NODES), ill=st.frozensets(st.sampled_from([gpu.uuid for gpu in GPUS])))
    def announce(self, name: str, ill: frozenset[str]) -> None:
        gpus = tuple(gpu.model_copy(update={"trouble": "ill" if gpu.uuid in ill else ""}) for gpu in GPUS)
        have = {"millicores": 3000, "spare": 4500, "memory": 600 * MIB, "disk": 200 * MIB, "pids": 130, "slots": 5}
        here = node(name, gpus=gpus, **have)
        for worker in WORKERS:
            self.stores.ledger.announce(here, worker=worker, lease_seconds=60)

    @rule(asked=REQUESTS, owner=st.sampled_from(OWNERS))
    def create(self, asked: Request, owner: str) -> None:
        name = f"j{len(self.jobs)}"
        self.stores.jobs.create(new_job(name, requests=asked, owner=owner))
        self.jobs[name] = Known(asked, owner)

    @rule(
        name=st.sampled_from(NODES), worker=st.sampled_from(WORKERS), data=st.data(),
        cap=st.none() | st.integers(0, 2),
    )  # fmt: skip
    def operate(self, name: str, worker: str, data: st.DataObject, cap: int | None) -> None:
        """An operator changes a cap or a cordon."""
        what = data.draw(st.sampled_from(["millicores", "gpus", "slots", "cordon"]))
        if what == "cordon":
            self.stores.ledger.cordon(name, [data.draw(st.sampled_from(["g0", "g1"]))], on=cap is not None)
        else:
            self.stores.ledger.set_caps(name, {what: None if cap is None else cap * (1000 if what[0] == "m" else 1)})

    @rule(name=st.sampled_from(NODES), worker=st.sampled_from(WORKERS), data=st.data())
    def reserve(self, name: str, worker: str, data: st.DataObject) -> None:
        """A plan, good or bad, and the guard's answer to each of its claims, which must be the model's."""
        if not self.jobs:
            return
        chosen = data.draw(st.lists(st.sampled_from(sorted(self.jobs)), min_size=1, max_size=4))
        here = self.stores.ledger.node(name)
        claims, expected = [], []
        rows = [known.held[1] for known in self.jobs.values() if known.held and known.held[0] == name]
        running = Counter(known.owner for known in self.jobs.values() if known.held)
        for task_id in chosen:
            known = self.jobs[task_id]
            count = known.asked.gpus
            uuids = tuple(data.draw(st.lists(st.sampled_from(["g0", "g1", "gone"]), min_size=count, max_size=count)))
            row = Reservation.of(
                known.asked, attempt=known.attempt + 1, worker=worker, gpus=uuids, deadline=0, owner=known.owner
            )
            claims.append(Claim(task_id, self.stores.jobs.get(task_id).assignment.line, row))
            if known.ended or known.held:
                expected.append("gone")
            elif not fits(here, rows, row):
                expected.append("full")
            elif running[known.owner] >= LIMIT:
                expected.append("owner")
            else:
                expected.append("ok")
                known.attempt, known.held = known.attempt + 1, (name, row)
                rows.append(row)
                running[known.owner] += 1
        # A claim's row carries the attempt that was next when it was drawn.
        assert self.stores.ledger.reserve(name, worker, claims) == expected
        if data.draw(st.booleans()):  # the reply was lost: the same again changes nothing
            again = self.stores.ledger.reserve(name, worker, claims)
            assert all(answer != "ok" for answer in again)

    @rule(data=st.data(), how=st.sampled_from(["finish", "retry", "cancel", "adopt"]))
    def leave(self, data: st.DataObject, how: str) -> None:
        """A job that is held ends, goes back to the line, is asked to stop, or gets another worker."""
        held = sorted(name for name, known in self.jobs.items() if known.held)
        waiting = sorted(name for name, known in self.jobs.items() if not known.held and not known.ended)
        if how == "cancel":
            if waiting:
                name = data.draw(st.sampled_from(waiting))
                self.stores.jobs.cancel(name, 1.0)
                self.jobs[name].ended = True
            return
        if not held:
            return
        name = data.draw(st.sampled_from(held))
        known = self.jobs[name]
        assert known.held is not None
        where, row = known.held
        if how == "adopt":
            other = next(worker for worker in WORKERS if worker != row.worker)
            self.stores.redis.delete(self.stores.keys.lease(where, row.worker))
            assert self.stores.ledger.adopt(where, name, row, other)
            known.held = (where, row.model_copy(update={"worker": other}))
            self.announce(where, frozenset())
            return
        job = self.stores.jobs.claim(name, known.attempt, node=where, worker=row.worker)
        if how == "finish":
            self.stores.jobs.finish(job, OK)
            known.ended = True
        else:
            self.stores.jobs.retry(job, LOST, Step("infra_failures"))
        known.held = None
        with pytest.raises(StaleAttempt):
            self.stores.jobs.claim(name, known.attempt, node=where, worker=row.worker)

    @invariant()
    def the_rows_are_the_held_jobs(self) -> None:
        for name in NODES:
            expected = {key: known.held[1] for key, known in self.jobs.items() if known.held and known.held[0] == name}
            assert self.stores.ledger.rows(name) == expected

    @invariant()
    def no_device_holds_more_than_it_has(self) -> None:
        for name in NODES:
            check_devices(GPUS, list(self.stores.ledger.rows(name).values()))

    @invariant()
    def no_owner_runs_more_than_it_may(self) -> None:
        running = Counter(known.owner for known in self.jobs.values() if known.held)
        assert max(running.values(), default=0) <= LIMIT

    @invariant()
    def an_owners_line_is_its_waiting_jobs(self) -> None:
        for owner in OWNERS:
            line = {key.decode() for key in self.stores.redis.zrange(self.stores.keys.waiting_of(owner), 0, -1)}
            waiting = {
                n for n, known in self.jobs.items() if known.owner == owner and not known.held and not known.ended
            }
            assert line == waiting


def check_devices(gpus: Sequence[Gpu], rows: Sequence[Reservation]) -> None:
    for gpu in gpus:
        shares = [row.gpu_memory for row in rows if gpu.uuid in row.gpus]
        assert sum(share or gpu.lendable for share in shares) <= gpu.lendable
        assert 0 not in shares or len(shares) == 1


def test_the_guard_answers_as_the_model_does_in_any_order_of_steps(stores: Stores, settings: Settings) -> None:
    limited = open_stores(settings.model_copy(update={"max_running_per_owner": LIMIT}))
    run_state_machine_as_test(lambda: Ledgers(limited), settings=PATIENT)  # type: ignore[no-untyped-call]
    limited.close()


PATIENT = patience(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    phases=(Phase.generate, Phase.shrink),
)


# --- eight processes on one ledger ------------------------------------------------------------------------

JOBS, HERE = (
    400,
    {"millicores": 4000, "memory": 1024 * MIB, "slots": 12, "pids": 1000, "disk": 1024 * MIB, "spare": 6000},
)
FOUR = tuple(Gpu(uuid=f"g{i}", name="x", memory=8 * GIB) for i in range(4))


def wanted(seed: int) -> Request:
    """What the job with this number asks for."""
    dice = random.Random(seed)
    if dice.random() < 0.4:
        return request(cpu=0.1, gpus=dice.choice([1, 1, 2]), gpu_memory=dice.choice([0, GIB, 3 * GIB, 5 * GIB]))
    return request(
        cpu=dice.choice([0.25, 1.0, 2.0]), memory=dice.choice([64, 200]) * MIB, reclaimable=dice.random() < 0.3
    )


def contend(url: str, state: str, number: int) -> None:
    """One worker: it plans on what it saw a moment ago, claims, and ends what it got, until all jobs have ended."""
    stores = open_stores(load_settings({}, state=state, redis_url=url, node_id="n1", max_running_per_owner=6))
    dice, worker = random.Random(number), f"w{number}"
    while stores.redis.scard("left"):
        here, rows = stores.ledger.node("n1"), stores.ledger.rows("n1")
        for task_id, row in rows.items():
            if row.worker == worker and dice.random() < 0.5:
                stores.jobs.finish(stores.jobs.claim(task_id, row.attempt, node="n1", worker=worker), OK)
                stores.redis.srem("left", task_id)
        _, devices = free_on(here, rows.values())
        claims = []
        for raw in stores.redis.srandmember("left", 6):
            task_id = raw.decode()
            asked = wanted(int(task_id[1:]))
            uuids = devices.place(asked)
            if uuids is not None and task_id not in rows:
                row = Reservation.of(asked, attempt=1, worker=worker, gpus=uuids, deadline=0)
                claims.append(Claim(task_id, stores.jobs.get(task_id).assignment.line, row))
        stores.ledger.reserve("n1", worker, claims)
    stores.close()


def test_eight_processes_on_one_ledger_never_oversubscribe_it(stores: Stores, settings: Settings) -> None:
    here = node(gpus=FOUR, **HERE)
    stores.ledger.announce(here, worker="w", lease_seconds=600)
    names = [f"j{i}" for i in range(JOBS)]
    asked = [new_job(name, requests=wanted(i), owner=OWNERS[i % 3]) for i, name in enumerate(names)]
    assert all(answer == ("created", State.WAITING) for answer in stores.jobs.create_many(asked))
    stores.redis.sadd("left", *names)
    owners = {name: OWNERS[i % 3] for i, name in enumerate(names)}
    start = multiprocessing.get_context("spawn")
    url = settings.redis
    workers = [start.Process(target=contend, args=(url, str(settings.state), number)) for number in range(8)]
    for worker in workers:
        worker.start()
    most, looks = Counter[str](), 0
    while any(worker.is_alive() for worker in workers):
        rows = stores.ledger.rows("n1")
        held = total(list(rows.values()))
        guaranteed = sum(row.millicores for row in rows.values() if not row.reclaimable)
        assert guaranteed <= HERE["millicores"]
        assert (held.model_copy(update={"spare": 0, "gpus": 0}) - Amount(**(HERE | {"spare": 0}))).floor() == Amount()
        check_devices(FOUR, list(rows.values()))
        assert max(Counter(owners[name] for name in rows).values(), default=0) <= 6
        looks += 1
        most["jobs"] = max(most["jobs"], len(rows))
        most["cores"] = max(most["cores"], guaranteed)
    assert [worker.exitcode for worker in workers] == [0] * 8
    assert looks > 10
    assert most["jobs"] > 1
    assert most["cores"] > HERE["millicores"] // 2
    admitted = Counter(
        fields[b"id"].decode()
        for _, fields in stores.redis.xrange(stores.keys.events)
        if fields[b"state"] == b"admitted"
    )
    assert admitted == Counter(names)
    assert stores.ledger.rows("n1") == {}
    assert not any(job is None or job.state in HELD for job in stores.jobs.get_many(names))
