"""What owners have held is summed up in Redis at every beat, where they have weights, and decides whose turn it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemind_worker.admission.admitter import Admitter
from hivemind_worker.admission.rules import Rules
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.usage import Account, Usage
from hivemind_worker.settings import Settings
from tests.builders import new_job, node
from tests.processes import eventually, until, worker

SHARES = Rules(weights={"*": 1.0})


def a_node(stores: Stores, rules: Rules, slots: int = 2) -> Admitter:
    stores.ledger.announce(node("n1", slots=slots), worker="w1", lease_seconds=60)
    return Admitter(stores.ledger, node="n1", worker="w1", rules=rules)


def backdate(stores: Stores, owner: str, seconds: float) -> Usage:
    """An account of so many seconds of the whole site, made up ten seconds ago."""
    at = stores.ledger.now_ms() - 10_000
    made = Usage(at, {owner: Account((seconds, 0.0, 0.0, 0.0), at)})
    assert stores.ledger.note_usage(stores.ledger.books(()).usage, made)
    return made


def test_at_a_beat_what_is_held_is_added_to_its_owners_account(stores: Stores) -> None:
    admitter = a_node(stores, SHARES)
    stores.jobs.create(new_job("t1", owner="ann"))
    admitter.once()
    assert stores.ledger.books(()).usage == Usage()
    backdate(stores, "ann", 100.0)
    admitter.make_up_accounts()
    found = stores.ledger.books(()).usage
    assert found.owners["ann"].last == found.at
    assert 102.4 <= found.owners["ann"].seconds[0] <= 115.0, "a core of four for ten seconds and a little"


def test_who_has_used_less_has_the_next_turn(stores: Stores) -> None:
    admitter = a_node(stores, SHARES, slots=1)
    backdate(stores, "ann", 100.0)
    stores.jobs.create(new_job("first", owner="ann"))
    stores.jobs.create(new_job("second", owner="bob"))
    admitter.once()
    assert set(stores.ledger.rows("n1")) == {"second"}


def test_without_weights_nothing_is_summed_up(stores: Stores) -> None:
    admitter = a_node(stores, Rules())
    stores.jobs.create(new_job("t1", owner="ann"))
    admitter.once()
    admitter.make_up_accounts()
    assert stores.redis.get(stores.keys.usage) is None


def test_of_two_workers_beats_the_quicker_ones_word_stands_and_a_lost_reply_may_be_asked_for_again(
    stores: Stores,
) -> None:
    known = backdate(stores, "ann", 1.0)
    mine, theirs = Usage(known.at + 1, known.owners), Usage(known.at + 2, known.owners)
    assert stores.ledger.note_usage(known, theirs)
    assert stores.ledger.note_usage(known, theirs)
    assert not stores.ledger.note_usage(known, mine)
    assert stores.ledger.books(()).usage == theirs


@pytest.mark.parametrize("damaged", ["{", "[]", '{"at": 1}', '{"at": 1, "owners": {"ann": ["x", 0, 0, 0, 1]}}'])
def test_accounts_that_cannot_be_read_begin_anew(stores: Stores, damaged: str) -> None:
    stores.redis.set(stores.keys.usage, damaged)
    admitter = a_node(stores, SHARES)
    stores.jobs.create(new_job("t1", owner="ann"))
    assert not admitter.once()
    assert set(stores.ledger.rows("n1")) == {"t1"}
    admitter.make_up_accounts()
    assert stores.ledger.books(()).usage.at > 1


def test_a_worker_makes_up_the_accounts_at_its_beats(settings: Settings, stores: Stores, tmp_path: Path) -> None:
    image, command = "localhost/hivemind-busybox:latest", ("sleep", "600")

    def used() -> float:
        account = stores.ledger.books(()).usage.owners.get("ann")
        return account.seconds[0] if account else 0.0

    with worker(settings, stores, tmp_path / "worker.log", HIVEMIND_WEIGHTS="*=1"):
        stores.jobs.create(new_job("t1", owner="ann", image=image, command=command, timeout_seconds=5.0))
        eventually(lambda: used() > 0)
        until(stores, "t1")
        assert used() > 0
