"""What tests of a worker share: jobs for it, and what it left of them in Redis, on the engine and on disk."""

from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path

import docker

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import Job
from hivemind_worker.settings import Settings
from hivemind_worker.store.wakeups import Ear
from tests.builders import new_job
from tests.processes import eventually

BUSYBOX = "localhost/hivemind-busybox:latest"


def submit(stores: Stores, task_id: str, script: str, **given: object) -> None:
    """A job that no busy machine brings to its timeout before the test is done with it."""
    fields = {"timeout_seconds": 600.0} | given
    stores.jobs.create(new_job(task_id, image=BUSYBOX, command=("sh", "-c", script), **fields))


def artifact(stores: Stores, job: Job) -> dict[str, bytes]:
    assert job.outcome is not None
    assert job.outcome.artifact is not None
    with stores.artifacts.open(job.outcome.artifact.sha256) as file:
        archive = zipfile.ZipFile(io.BytesIO(file.read()))
    return {name: archive.read(name) for name in archive.namelist()}


def log_text(stores: Stores, task_id: str) -> bytes:
    return b"".join(chunk.data for chunk in stores.logs.read(task_id, 0, count=10_000))


def containers(engine: docker.DockerClient, task_id: str) -> list[str]:
    # The plain list: docker-py's own inspects each one, and fails for one that goes meanwhile.
    found = engine.api.containers(all=True, filters={"label": f"hivemind.task_id={task_id}"})
    return [container["Names"][0].removeprefix("/") for container in found]


def until_log(stores: Stores, task_id: str, words: bytes, timeout: float = 100) -> None:
    """Wait, told by the job's own channel, until its log has these words."""
    ear = Ear(stores.redis, [stores.keys.changes(task_id)])
    try:
        end = time.monotonic() + timeout  # a job is told of often: counted, its changes would be over sooner
        while time.monotonic() < end:
            job = stores.jobs.get(task_id)
            if words in log_text(stores, task_id):  # looked at after the record: an ended job has written it all
                return
            assert not job.state.terminal, f"{task_id} ended without {words!r}: {job.outcome}"
            ear.listen(1.0)
    finally:
        ear.close()
    raise AssertionError(
        f"{words!r} never came; the log is {log_text(stores, task_id)!r}, the job {stores.jobs.get(task_id)}"
    )


def until_clean(engine: docker.DockerClient, settings: Settings, task_id: str) -> None:
    """Container and workspace go right after the outcome was recorded."""
    eventually(lambda: containers(engine, task_id) == [])
    eventually(lambda: list((settings.state / "workspaces").glob(f"{task_id}-*")) == [])


def arm(folder: Path, point: str, deed: str) -> tuple[Path, dict[str, str]]:
    """Have the next worker that passes a kill point meet its fate: where that is noted, and the worker's variables."""
    armed = folder / "armed"
    armed.mkdir()
    (armed / point).write_text(deed)
    return armed, {"CHAOS_KILLPOINTS": "tests.chaos.points", "CHAOS_ARMED": str(armed)}
