"""On a site of several nodes, a job with a bundle or secrets runs on the node that holds them, or waits for it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import docker
import pytest

from hivemind_worker.admission.explain import Explainer
from hivemind_worker.admission.intake import Intake
from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.errors import NeverFits
from hivemind_worker.domain.job import Job, State
from hivemind_worker.domain.line import Claim
from hivemind_worker.domain.node import NodeState
from hivemind_worker.settings import Settings, load_settings
from hivemind_worker.store import ledger
from hivemind_worker.store.records import VERSION
from tests import zips
from tests.builders import new_job, row
from tests.integration.store_kit import FREE, announce
from tests.integration.test_lost_node import QUICK, Watcher, started
from tests.integration.test_store_audit import sweep
from tests.integration.test_worker_fenced import freeze
from tests.integration.worker_kit import BUSYBOX, containers, log_text, until_log
from tests.processes import eventually, until, worker
from tests.zips import Entry


@pytest.fixture
def other(redis_url: str, tmp_path: Path) -> Settings:
    """Another node of the site, with a directory of its own."""
    return load_settings(state=tmp_path / "state2", redis_url=redis_url, node_id="n2")


@pytest.fixture
def theirs(other: Settings) -> Any:
    """The other node's stores, as its bridge opens them."""
    opened = open_stores(other)
    yield opened
    opened.close()


def claimed(stores: Stores, task_id: str, node: str) -> str:
    claim = Claim(task_id, stores.jobs.get(task_id).assignment.line, row(1, "w"))
    return stores.ledger.reserve(node, "w", [claim])[0]


def send(stores: Stores, settings: Settings, task_id: str, script: str, bundle: bytes = b"", **more: Any) -> None:
    """An assignment as this node's bridge takes it in, with a bundle or without."""
    sha256 = ""
    if bundle:
        with stores.bundles.writer() as writer:
            writer.write(bundle)
            sha256 = writer.commit().sha256
    requests = {"cpu": 0.2, "memory": 64 << 20, "disk": 10 << 20, "pids": 64}
    fields = {
        "task_id": task_id, "image": BUSYBOX, "command": ["sh", "-c", script], "bundle_sha256": sha256,
        "timeout_seconds": 600.0, "requests": requests | more.pop("requests", {}),
    }  # fmt: skip
    intake = Intake(stores.jobs, stores.ledger, stores.bundles, settings)
    intake.accept(intake.check(fields, more.get("secrets")))


def reason(stores: Stores, task_id: str) -> str:
    """Why it waits, as `show` and `ps` say."""
    shown = Explainer(stores.jobs, stores.ledger).views([stores.jobs.get(task_id)])[0]
    return str(shown["waiting"]["reason"]) if shown["waiting"] else ""


# --- the records ------------------------------------------------------------------------------------------------------


def test_the_guard_gives_a_job_with_a_home_to_no_other_node(stores: Stores) -> None:
    announce(stores)
    announce(stores, "n2")
    stores.jobs.create(new_job(home="n2"))
    assert claimed(stores, "t1", "n1") == "elsewhere"
    assert stores.jobs.get("t1").state is State.WAITING
    assert stores.ledger.rows("n1") == {}
    assert claimed(stores, "t1", "n2") == "ok"


def test_what_is_free_elsewhere_opens_no_line_of_a_home_that_is_full_or_away(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "WINDOW_FRONT", 1)
    stores.jobs.create_many([new_job(f"n2-{i}", home="n2") for i in range(4)])
    stores.jobs.create_many([new_job(f"any-{i}") for i in range(4)])

    def seen(*names: str) -> set[str]:
        return {each.task_id for each in stores.ledger.window(dict.fromkeys(names, FREE)).candidates}

    assert seen("n1") == {"n2-0", "any-0", "any-1", "any-2", "any-3"}
    assert len(seen("n1", "n2")) == 8
    assert {each.home for each in stores.ledger.window({"n2": FREE}).candidates} == {"", "n2"}


def test_intake_gives_a_home_to_what_has_a_bundle_or_secrets_and_to_nothing_else(
    theirs: Stores, other: Settings, tmp_path: Path, stores: Stores
) -> None:
    bundle = zips.build([Entry("word", b"x")])
    send(theirs, other, "bundle", "true", bundle)
    send(theirs, other, "secret", "true", secrets={"TOKEN": "x"})
    send(theirs, other, "plain", "true")
    homes = {name: stores.jobs.get(name).assignment.home for name in ("bundle", "secret", "plain")}
    assert homes == {"bundle": "n2", "secret": "n2", "plain": ""}


def test_intake_asks_only_its_home_whether_a_job_can_ever_fit(theirs: Stores, other: Settings, stores: Stores) -> None:
    announce(stores)
    announce(stores, "n2", millicores=1000)
    send(theirs, other, "plain", "true", requests={"cpu": 2.0})
    with pytest.raises(NeverFits, match="node n2, where its bundle or secrets are,"):
        send(theirs, other, "secret", "true", requests={"cpu": 2.0}, secrets={"TOKEN": "x"})


def test_a_record_that_names_no_home_may_run_anywhere(stores: Stores) -> None:
    announce(stores, "n2")
    stores.jobs.create(new_job(bundle_sha256="a" * 64))
    stores.redis.hset(stores.keys.job("t1"), "version", 2)
    stores.redis.hdel(stores.keys.job("t1"), "home")
    assert sweep(stores) == {"t1": "migrated from version 2"}
    assert stores.redis.hmget(stores.keys.job("t1"), "version", "home") == [str(VERSION).encode(), b""]
    assert claimed(stores, "t1", "n2") == "ok"


def test_a_lost_job_goes_back_into_its_homes_line(stores: Stores) -> None:
    started(stores, home="n1")
    Watcher(stores).watch(70)
    assert stores.jobs.get("t1").state is State.WAITING
    claim = Claim("t1", stores.jobs.get("t1").assignment.line, row(2, "w"))
    assert stores.ledger.reserve("n2", "w", [claim]) == ["elsewhere"]
    assert stores.ledger.reserve("n1", "w", [claim]) == ["ok"]


# --- real workers -------------------------------------------------------------------------------------------------


def ended(stores: Stores, task_id: str) -> tuple[Job, bytes]:
    job = until(stores, task_id)
    assert job.state is State.COMPLETED, job.outcome
    return job, log_text(stores, task_id)


def test_jobs_sent_to_a_node_with_a_bundle_or_secrets_run_there_alone_and_wait_for_it(
    settings: Settings, other: Settings, stores: Stores, theirs: Stores, engine: docker.DockerClient, tmp_path: Path
) -> None:
    bundle = zips.build([Entry("word", b"from the bundle\n")])
    with worker(settings, stores, tmp_path / "n1.log", **QUICK):
        with worker(other, stores, tmp_path / "n2.log", name="w2", **QUICK):
            for i in range(3):
                send(theirs, other, f"b{i}", "cat word", bundle)
                send(theirs, other, f"s{i}", 'echo "$TOKEN"', secrets={"TOKEN": "sealed"})
            for i in range(3):
                job, said = ended(stores, f"b{i}")
                assert (job.node, job.attempt, said) == ("n2", 1, b"from the bundle\n")
                job, said = ended(stores, f"s{i}")
                assert (job.node, job.attempt, said) == ("n2", 1, b"sealed\n")
        eventually(lambda: stores.ledger.node("n2").state is NodeState.DOWN)
        send(theirs, other, "waits", "cat word", bundle)
        send(theirs, other, "goes", "echo went")
        assert ended(stores, "goes")[0].node == "n1"
        waiting = stores.jobs.get("waits")
        assert (waiting.state, waiting.attempt) == (State.WAITING, 0)
        assert reason(stores, "waits") == "its bundle is on node n2, which is down"
        with worker(other, stores, tmp_path / "n2.log", name="w2", **QUICK):
            job, said = ended(stores, "waits")
            assert (job.node, job.attempt, job.infra_failures, said) == ("n2", 1, 0, b"from the bundle\n")


def test_a_job_whose_home_is_lost_waits_for_it_and_starts_anew_there_the_old_container_gone(
    settings: Settings, other: Settings, stores: Stores, theirs: Stores, engine: docker.DockerClient, tmp_path: Path
) -> None:
    bundle = zips.build([Entry("word", b"from the bundle\n")])
    script = 'echo "attempt $HIVEMIND_ATTEMPT"; [ "$HIVEMIND_ATTEMPT" = 2 ] || sleep 600; cat word'
    with (
        worker(settings, stores, tmp_path / "n1.log", **QUICK),
        worker(other, stores, tmp_path / "n2.log", name="w2", **QUICK) as home,
    ):
        send(theirs, other, "lost", script, bundle)
        until_log(stores, "lost", b"attempt 1\n")
        freeze(home)
        try:
            until(stores, "lost", State.WAITING)
            send(stores, settings, "goes", "echo went")
            assert ended(stores, "goes")[0].node == "n1"
            eventually(lambda: reason(stores, "lost") == "its bundle is on node n2, which is down")
        finally:
            home.send_signal(signal.SIGCONT)
        job, said = ended(stores, "lost")
        assert (job.node, job.attempt, job.infra_failures) == ("n2", 2, 1)
        assert said.endswith(b"attempt 2\nfrom the bundle\n")
        eventually(lambda: containers(engine, "lost") == [])
