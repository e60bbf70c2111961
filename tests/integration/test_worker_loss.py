"""An attempt whose end nobody saw: what there is of it comes back, and its log says that there may have been more."""

from __future__ import annotations

from pathlib import Path

import docker

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import State
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.execution.lost import WORDS_OF_LOSS, recover_log
from hivemind_worker.settings import Settings
from tests.integration.store_kit import admitted
from tests.integration.worker_kit import arm, artifact, log_text, submit, until_clean, until_log
from tests.processes import eventually, until, worker
from tests.workspaces import workspace_of

SAID = f"[hivemind] {WORDS_OF_LOSS}\n".encode()
NO_MORE = {"HIVEMIND_INFRASTRUCTURE_RETRIES": "0"}


def test_a_container_removed_while_no_worker_watched_is_said_in_the_log_and_the_files_come_back(
    settings: Settings, stores: Stores, engine: docker.DockerClient, tmp_path: Path
) -> None:
    with worker(settings, stores, tmp_path / "w1.log", **NO_MORE) as first:
        submit(stores, "gone", "echo data > result.txt; echo line 1; sleep 600")
        until_log(stores, "gone", b"line 1\n")
        first.kill()
        first.wait()
        engine.containers.get("hm-gone-1").remove(force=True)
    with worker(settings, stores, tmp_path / "w2.log", **NO_MORE):
        job = until(stores, "gone")
        assert job.outcome is not None
        assert (job.state, job.outcome.cause, job.attempt) == (State.FAILED, Cause.ENGINE, 1)
        assert job.outcome.log.truncated
        inside = artifact(stores, job)
        assert inside["result.txt"] == b"data\n"
        assert inside["execution_log.txt"] == log_text(stores, "gone") == b"line 1\n" + SAID
        assert job.outcome.log.bytes == len(b"line 1\n")
        until_clean(engine, settings, "gone")


def test_a_start_that_the_engine_does_not_remember_is_said_in_the_log_and_the_next_attempts_lines_follow(
    settings: Settings, stores: Stores, engine: docker.DockerClient, tmp_path: Path
) -> None:
    armed, points = arm(tmp_path, "container-created", "freeze")
    with worker(settings, stores, tmp_path / "w1.log", **points) as first:
        submit(stores, "unsure", 'echo "attempt $HIVEMIND_ATTEMPT"')
        eventually(lambda: list(armed.glob(".fired-*")))  # it waits there to be struck
        first.kill()
        first.wait()
        assert workspace_of(
            settings.state, "unsure"
        ).note_start()  # as it would have done next, right before the engine died
    with worker(settings, stores, tmp_path / "w2.log"):
        job = until(stores, "unsure")
        assert (job.state, job.attempt) == (State.COMPLETED, 2)
        assert log_text(stores, "unsure") == SAID + b"attempt 2\n"
        assert artifact(stores, job)["execution_log.txt"] == b"attempt 2\n"
        until_clean(engine, settings, "unsure")


def test_a_loss_is_said_once_however_often_it_is_told(stores: Stores) -> None:
    admitted(stores, "twice")
    for _ in range(2):
        stores.logs.say("twice", 1, WORDS_OF_LOSS, worker="w1")
    assert log_text(stores, "twice") == SAID


def test_a_file_that_has_more_than_the_live_log_keeps_it(stores: Stores, tmp_path: Path) -> None:
    admitted(stores, "more")
    stores.logs.say("more", 1, WORDS_OF_LOSS, worker="w1")
    file = tmp_path / "log"
    file.write_bytes(b"x" * 1000)
    recover_log(file, stores.logs, "more", 1)
    assert file.read_bytes() == b"x" * 1000 + b"\n" + SAID
    file.write_bytes(b"x")
    recover_log(file, stores.logs, "more", 1)
    assert file.read_bytes() == SAID
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("log")] == ["log"]
