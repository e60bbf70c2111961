"""A worker whose Celery consumer has gone deaf, as after some reconnects, leaves so that another one takes over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import State
from hivemind_worker.settings import Settings
from tests.integration.worker_kit import submit
from tests.processes import environment, process, until, until_up, worker

#: the worker, with less patience: half a minute of silence is a day of a test
LESS_PATIENT = """
import sys
from celery.__main__ import main
from hivemind_worker.admission import recovery
recovery.DEAF_AFTER = 3.0
sys.argv = ["celery", "-A", "hivemind_worker", "worker", "-n", "w1"]
main()
"""


def test_a_worker_whose_consumer_is_deaf_leaves_and_the_next_one_runs_the_job_once(
    settings: Settings, stores: Stores, output: Path, tmp_path: Path
) -> None:
    env = environment(settings)
    with process([sys.executable, "-c", LESS_PATIENT], env, output) as child:
        until_up(stores, settings.node_id, child, output)
        submit(stores, "before-deaf", "true")
        until(stores, "before-deaf")
        queue = f"hivemind.{settings.namespace}.{settings.node_id}.celery@w1"
        deafen = [sys.executable, "-m", "celery", "-A", "hivemind_worker", "control", "cancel_consumer", queue]
        done = subprocess.run(deafen, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert f"no longer consuming from {queue}" in done.stdout, done.stdout + done.stderr
        submit(stores, "unheard", "echo ran")
        assert child.wait(60) == 70, output.read_text()
    assert "the consumer is deaf" in output.read_text()
    assert stores.jobs.get("unheard").state is State.ADMITTED
    with worker(settings, stores, output):
        job = until(stores, "unheard")
    assert (job.state, job.attempt) == (State.COMPLETED, 1)
