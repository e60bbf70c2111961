"""A worker's housekeeping on a real node: what nobody stands behind goes by itself, whoever left it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import State
from hivemind_worker.execution.engine import Engine
from hivemind_worker.settings import Settings
from tests.builders import new_job, request
from tests.processes import REPOSITORY, eventually, until, worker
from tests.workspaces import workspace_of

from .execution_kit import BUSYBOX, Proxy

#: takes a staging directory, puts a file into it and dies of SIGKILL
DIE = """
import os, signal, sys
from pathlib import Path
from hivemind_worker.store.staging import Staging
(Staging(Path(sys.argv[1])).folder / "artifact-1").write_bytes(b"half")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def engine(settings: Settings, stores: Stores) -> Iterator[Engine]:
    """The machine's; nothing of this site's is left on it afterwards."""
    made = Engine(settings)
    yield made
    for found in made.list({"hivemind.site": stores.ledger.site_id()}):
        made.remove(found.id)


def left_behind(
    engine: Engine, stores: Stores, task_id: str, attempt: str, *, site: str = "", start: bool = True
) -> str:
    """A container of this node's, as a killed worker or a fenced attempt leaves it; its id."""
    labels = {
        "hivemind.site": site or stores.ledger.site_id(),
        "hivemind.node": "n1",
        "hivemind.task_id": task_id,
        "hivemind.attempt": attempt,
    }
    body = {"Image": BUSYBOX, "Cmd": ["sleep", "600"], "Labels": labels, "HostConfig": {"NetworkMode": "none"}}
    made = engine.create(f"hm-{stores.ledger.site_id()[:8]}-{task_id}-{attempt}", body)
    if start:
        engine.start(made)
    return made


def test_containers_workspaces_and_files_that_nobody_stands_behind_go_and_the_rest_stays(
    settings: Settings, stores: Stores, engine: Engine, tmp_path: Path
) -> None:
    with worker(settings, stores, tmp_path / "worker.log"):
        script = "until [ -e go ]; do sleep 0.1; done"
        small = request(cpu=0.1)
        stores.jobs.create(new_job("lives", image=BUSYBOX, command=("sh", "-c", script), requests=small))
        until(stores, "lives", State.RUNNING)
        foreign = left_behind(engine, stores, "ghost", "9", site="another-site")
        try:
            orphans = [
                left_behind(engine, stores, "ghost", "1"),
                left_behind(engine, stores, "ghost", "2", start=False),
                left_behind(engine, stores, "lives", "7"),
            ]
            orphaned = settings.state / "workspaces" / "ghost-3"
            (orphaned / "work" / "deep").mkdir(parents=True)
            subprocess.run([sys.executable, "-c", DIE, str(settings.state / "tmp")], cwd=REPOSITORY, check=False)
            eventually(lambda: all(engine.inspect(one) is None for one in orphans))
            eventually(lambda: not orphaned.exists())
            eventually(lambda: not list((settings.state / "tmp").glob("*/artifact-1")))
            assert engine.inspect(foreign) is not None
            (workspace_of(settings.state, "lives").work / "go").touch()
            job = until(stores, "lives")
            assert (job.state, job.attempt) == (State.COMPLETED, 1)
        finally:
            engine.remove(foreign)


def test_what_was_left_while_the_engine_was_away_goes_once_it_is_back_and_before_anything_starts(
    settings: Settings, stores: Stores, engine: Engine, proxy: Proxy, tmp_path: Path
) -> None:
    proxy.cut()
    with worker(settings, stores, tmp_path / "worker.log", HIVEMIND_DOCKER_HOST=proxy.url):
        orphan = left_behind(engine, stores, "ghost", "1")
        orphaned = settings.state / "workspaces" / "ghost-1"
        orphaned.mkdir(parents=True)
        heard = stores.ledger.node("n1").heartbeat
        eventually(lambda: stores.ledger.node("n1").heartbeat != heard)
        stores.jobs.create(new_job("next", image=BUSYBOX, command=("sleep", "600")))
        assert engine.inspect(orphan) is not None
        assert orphaned.exists()
        proxy.mend()
        until(stores, "next", State.ADMITTED, State.PREPARING, State.RUNNING)
        assert engine.inspect(orphan) is None
        eventually(lambda: engine.inspect(orphan) is None)
        eventually(lambda: not orphaned.exists())


def test_a_node_that_is_renamed_ends_what_it_began_under_its_old_name_once_that_is_lost(
    settings: Settings, stores: Stores, engine: Engine, output: Path
) -> None:
    quick = {"HIVEMIND_BEAT": "0.5", "HIVEMIND_HEARTBEAT_TIMEOUT": "2", "HIVEMIND_NODE_LOST_AFTER": "4"}
    script = '[ "$HIVEMIND_ATTEMPT" = 2 ] || { touch began; sleep 600; }'
    with worker(settings, stores, output, **quick) as child:
        stores.jobs.create(new_job("moves", image=BUSYBOX, command=("sh", "-c", script)))
        until(stores, "moves", State.RUNNING)
        child.kill()
        child.wait(10)
    renamed = settings.model_copy(update={"node_id": "n1b"})
    files = settings.state / "workspaces" / "moves-1" / "work"
    with worker(renamed, stores, output, **quick):
        assert engine.inspect("hm-moves-1") is not None
        job = until(stores, "moves")
        assert (job.state, job.attempt, job.node) == (State.COMPLETED, 2, "n1b")
        eventually(lambda: engine.inspect("hm-moves-1") is None)
        eventually(lambda: not files.exists())
