"""A worker frozen anywhere on the way to its job's start wakes up while another one runs it, and spoils nothing."""

from __future__ import annotations

import signal
import zipfile
from pathlib import Path

import docker

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import State
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import Settings
from tests.builders import new_job, request
from tests.integration.test_worker_fenced import freeze
from tests.integration.worker_kit import BUSYBOX, arm, artifact, log_text, until_clean, until_log
from tests.processes import environment, eventually, process, until, worker, worker_command

POINTS = ("claimed", "workspace-made", "workspace-ready", "container-created", "container-started")
LINES = 3000
SCRIPT = f"""
cat data > early.txt
i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo "line $i of output"; done
echo waiting
until [ -e go ]; do sleep 0.1; done
cat data > late.txt
"""
PRINTED = b"".join(b"line %d of output\n" % number for number in range(1, LINES + 1)) + b"waiting\n"


def packed(stores: Stores, folder: Path) -> str:
    """A bundle whose program reads a file of its own; its sha256."""
    path = folder / "bundle.zip"
    with zipfile.ZipFile(path, "w") as bundle:
        bundle.writestr("main.sh", SCRIPT)
        bundle.writestr("data", "of the bundle\n")
    return stores.bundles.add(path).sha256


def test_a_frozen_worker_wakes_up_beside_the_one_that_runs_its_jobs(
    settings: Settings, stores: Stores, engine: docker.DockerClient, tmp_path: Path
) -> None:
    armed, points = arm(tmp_path, POINTS[0], "freeze")
    for point in POINTS[1:]:
        (armed / point).write_text("freeze")
    said, bundle = tmp_path / "w1.log", packed(stores, tmp_path)
    jobs = [f"at-{number}" for number in range(len(POINTS))]  # each is held up at another point
    with worker(settings, stores, said, **points) as first:
        for task_id in jobs:
            stores.jobs.create(
                new_job(
                    task_id, image=BUSYBOX, command=("sh", "main.sh"), bundle_sha256=bundle, timeout_seconds=600.0,
                    requests=request(cpu=0.1),
                )
            )  # fmt: skip
        eventually(lambda: len(list(armed.glob(".fired-*"))) == len(POINTS))  # they wait there to be struck
        freeze(first)
        with process(worker_command("w2"), environment(settings), tmp_path / "w2.log"):
            for task_id in jobs:
                eventually(lambda one=task_id: stores.jobs.get(one).worker == "celery@w2", timeout=60)  # type: ignore[misc]
                until(stores, task_id, State.RUNNING)
                until_log(stores, task_id, b"waiting\n")
            running = {task_id: engine.containers.get(f"hm-{task_id}-1") for task_id in jobs}
            first.send_signal(signal.SIGCONT)
            eventually(lambda: said.read_text().count("attempt fenced off") == len(jobs))
            for task_id, container in running.items():
                assert engine.containers.get(f"hm-{task_id}-1").id == container.id
                (mount,) = (one for one in container.attrs["Mounts"] if one["Destination"] == "/workspace")
                (Path(mount["Source"]) / "go").touch()
            for task_id in jobs:
                ran_whole(stores, task_id)
                until_clean(engine, settings, task_id)
        assert first.poll() is None


def ran_whole(stores: Stores, task_id: str) -> None:
    job = until(stores, task_id)
    assert job.outcome is not None
    assert (job.state, job.attempt, job.outcome.cause) == (State.COMPLETED, 1, Cause.OK)
    inside = artifact(stores, job)
    assert (inside["early.txt"], inside["late.txt"]) == (b"of the bundle\n", b"of the bundle\n")
    assert inside["execution_log.txt"] == PRINTED
    assert log_text(stores, task_id) == PRINTED
