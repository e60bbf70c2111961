"""A worker's name is one worker's in the whole site: a twin elsewhere is refused, what was killed is back at once."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import redis

from hivemind_worker.admission.naming import Name
from hivemind_worker.admission.recovery import ADOPT_AFTER
from hivemind_worker.agent import owner_of, take_name
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import NameHeld
from hivemind_worker.domain.job import State
from hivemind_worker.settings import Settings, load_settings
from tests.builders import node
from tests.integration.worker_kit import submit
from tests.processes import environment, eventually, process, until, worker, worker_command


class Worker:
    """The naming half of a worker w1 of n1, with a clock that the test moves."""

    def __init__(self, stores: Stores, owner: str, lease: float = 10.0) -> None:
        self.refused: list[str] = []
        self.now = 1000.0
        self.name = Name(
            stores.ledger,
            node="n1",
            worker="w1",
            owner=owner,
            lease=lease,
            refuse=self.refused.append,
            clock=lambda: self.now,
        )

    def beat(self) -> bool:
        """Whether it holds the name after this beat."""
        try:
            self.name.beat(node("n1"))
        except NameHeld:
            return False
        return True


def test_a_twin_is_refused_as_soon_as_the_name_is_seen_renewed(stores: Stores) -> None:
    first, twin = Worker(stores, "here"), Worker(stores, "elsewhere")
    assert first.beat()
    stores.redis.pexpire(stores.keys.lease("n1", "w1"), 5000)
    assert not twin.beat()
    assert not twin.beat()
    assert twin.refused == []
    assert first.beat()
    assert not twin.beat()
    assert "a worker named w1 runs already on node n1" in twin.refused[0]
    assert "HIVEMIND_NODE_ID" in twin.refused[0]
    twin.name.retire()
    assert stores.ledger.living("n1", ["w1"]) == {"w1"}


def test_a_name_whose_lease_is_gone_is_taken_once_its_owner_had_time_to_beat(stores: Stores) -> None:
    first, twin = Worker(stores, "here"), Worker(stores, "elsewhere")
    assert first.beat()
    stores.redis.delete(stores.keys.lease("n1", "w1"))
    assert not twin.beat()
    twin.now += ADOPT_AFTER - 1
    assert not twin.beat()
    twin.name.redis_is_away()
    twin.now += ADOPT_AFTER - 1
    assert not twin.beat()
    twin.now += ADOPT_AFTER
    assert twin.beat()
    assert twin.name.held
    assert not first.beat()  # it was frozen all that time
    assert not first.name.held
    assert len(first.refused) == 1
    assert twin.refused == []


def test_after_an_outage_the_name_is_its_owners_whoever_comes_first(stores: Stores, client: redis.Redis) -> None:
    first, twin = Worker(stores, "here"), Worker(stores, "elsewhere")
    assert first.beat()
    client.delete(stores.keys.lease("n1", "w1"))  # lapsed for everybody
    assert not twin.beat()
    assert first.beat()
    assert not twin.beat()
    assert len(twin.refused) == 1


def test_one_that_leaves_in_order_leaves_its_name(stores: Stores) -> None:
    first, next_one = Worker(stores, "here"), Worker(stores, "elsewhere")
    assert first.beat()
    first.name.retire()
    assert next_one.beat()


def test_the_same_directory_is_the_same_owner_and_a_copy_is_another(settings: Settings, tmp_path: Path) -> None:
    with take_name(settings, "w1") as lock:
        before = owner_of(lock)
    with take_name(settings, "w1") as lock:
        assert owner_of(lock) == before
    with take_name(settings, "w2") as lock:
        assert owner_of(lock) != before
    copied = settings.model_copy(update={"state": tmp_path / "copy"})
    shutil.copytree(settings.state, copied.state)
    with take_name(copied, "w1") as lock:
        assert owner_of(lock) != before


# --- real workers -------------------------------------------------------------------------------------------------


def test_a_twin_with_another_state_directory_is_refused_and_takes_nothing_up(
    settings: Settings, stores: Stores, tmp_path: Path, running_worker: subprocess.Popen[bytes]
) -> None:
    other = load_settings(state=tmp_path / "state2", redis_url=settings.redis, node_id=settings.node_id)
    said = tmp_path / "twin.log"
    with process(worker_command(), environment(other), said) as twin:
        submit(stores, "between", "true")
        job = until(stores, "between")
        assert twin.wait(60) == 70
    assert (job.state, job.attempt) == (State.COMPLETED, 1)
    assert "a worker named celery@w1 runs already on node" in said.read_text()
    assert running_worker.poll() is None
    assert stores.ledger.living(settings.node_id, ["celery@w1"]) == {"celery@w1"}


def test_a_killed_worker_has_its_name_back_at_once_and_another_directory_has_it_once_the_lease_is_gone(
    settings: Settings, stores: Stores, output: Path, tmp_path: Path
) -> None:
    key = stores.keys.lease(settings.node_id, "celery@w1")
    quick = {"HIVEMIND_BEAT": "0.5"}
    with worker(settings, stores, output, **quick) as child:
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    stores.redis.set(key, "1", px=600_000)  # were it waited for, this test would not end
    with process(worker_command(), environment(settings, **quick), output) as child:
        eventually(lambda: stores.redis.pttl(key) < 60_000)
        submit(stores, "again", "true")
        assert until(stores, "again").worker == "celery@w1"
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    other = load_settings(state=tmp_path / "state2", redis_url=settings.redis, node_id=settings.node_id)
    with process(worker_command(), environment(other, **quick), output):
        submit(stores, "after-twin", "true")
        assert until(stores, "after-twin").state is State.COMPLETED
    assert "name taken over from a worker that is gone" in output.read_text()
