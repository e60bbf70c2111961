"""What the execution tests share: jobs that run on the real engine, bundles, and an engine that can be cut off."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import uuid
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.assignment import Assignment
from hivemind_worker.domain.job import Job, State, Times
from hivemind_worker.domain.resources import MIB
from hivemind_worker.execution.engine import Engine
from hivemind_worker.execution.gpus import GpuSight
from hivemind_worker.execution.handle import Detached, Handle
from hivemind_worker.execution.runner import Ended, Prepared, Runner
from hivemind_worker.execution.workspace import Workspace
from hivemind_worker.settings import Settings
from hivemind_worker.store.logs import Chunk, Stream
from tests import workspaces
from tests.processes import eventually
from tests.site import hold

BASE = "localhost/hivemind-base:latest"
BUSYBOX = "localhost/hivemind-busybox:latest"
STATIC = "localhost/hivemind-static:latest"
SOCKET = "/var/run/docker.sock"

#: prints a number every 20 ms, on both streams, and ends by itself
COUNT = "import os, time\nfor n in range(150): os.write(1, b'%d\\n' % n); os.write(2, b'%d\\n' % n); time.sleep(0.02)\n"
COUNTED = "".join(f"{n}\n" for n in range(150)).encode()
#: waits for a file, so that the test decides when it goes on
GATED = (
    "import os, time\n"
    "print('before', flush=True)\n"
    "while not os.path.exists('/workspace/go'): time.sleep(0.01)\n"
    "print('after', flush=True)\n"
)


class Kit:
    """One worker's execution room on the real engine; removes whatever its jobs left."""

    def __init__(self, settings: Settings, stores: Stores) -> None:
        self.settings = settings
        self.stores = stores
        #: what the node sees of its devices; None: it has none
        self.gpus: GpuSight | None = None
        #: what it lends of its cores, in thousandths; None: not known
        self.cores: Callable[[], int | None] = lambda: None
        self.engine = Engine(settings)
        self.runner = self.new_runner()
        self._prepared: list[Prepared] = []

    def new_runner(self) -> Runner:
        """A runner as a worker that has just come up has it."""
        stores = self.stores
        site_id = stores.ledger.site_id
        return Runner(
            self.engine, self.settings, stores.logs, stores.bundles,
            site_id=site_id, node="n1", cores=self.cores, gpus=self.gpus,
        )  # fmt: skip

    def job(
        self,
        *command: str,
        image: str = BASE,
        bundle: dict[str, bytes] | None = None,
        attempt: int = 1,
        state: State = State.PREPARING,
        **fields: Any,
    ) -> Job:
        """A job as a claim gives it."""
        caps = {"cpu": 1.0, "memory": 128 * MIB, "disk": 64 * MIB, "pids": 64, **fields.pop("requests", {})}
        spec = Assignment.parse(
            {
                "task_id": f"x-{uuid.uuid4().hex[:12]}",
                "image": image,
                "command": command,
                "bundle_sha256": self.bundle(bundle) if bundle is not None else "",
                "requests": caps,
                "timeout_seconds": 60.0,
                **fields,
            }
        )
        hold(self.stores, spec.task_id, attempt)
        now = int(time.time() * 1000)
        return Job(assignment=spec, state=state, attempt=attempt, node="n1", worker="w1", times=Times(created=now))

    def bundle(self, files: dict[str, bytes]) -> str:
        """Store a zip; its digest."""
        path = self.settings.state / "tmp" / f"{uuid.uuid4().hex}.zip"
        with zipfile.ZipFile(path, "w") as packed:
            for name, data in files.items():
                packed.writestr(name, data)
        return self.stores.bundles.add(path).sha256

    def prepare(self, job: Job, handle: Handle, *, runner: Runner | None = None, **secrets: str) -> Prepared:
        """Prepare, and remember to clean."""
        prepared = (runner or self.runner).prepare(job, secrets, (), handle)
        self._prepared.append(prepared)
        return prepared

    def run(self, job: Job, handle: Handle | None = None, **secrets: str) -> tuple[Prepared, Ended]:
        """Prepare and run to the end."""
        with contextlib.closing(handle or Handle()) as own:
            prepared = self.prepare(job, own, **secrets)
            return prepared, self.runner.run(prepared, own, lambda: None)

    def start(self, job: Job, handle: Handle) -> Body:
        """The same in a thread; returns once the container has started."""
        body = self.start_in_background(job, handle)
        assert body.started.wait(60)
        return body

    def start_in_background(self, job: Job, handle: Handle) -> Body:
        """The same, and return at once."""
        body = Body(self, job, handle)
        body.start()
        return body

    def chunks(self, job: Job) -> list[Chunk]:
        """The live log."""
        found: list[Chunk] = []
        while page := self.stores.logs.read(job.task_id, found[-1].number + 1 if found else 0):
            found += page
        return found

    def live(self, job: Job, stream: Stream = Stream.STDOUT) -> bytes:
        """What the live log holds of one stream."""
        return b"".join(chunk.data for chunk in self.chunks(job) if chunk.stream is stream)

    def leftovers(self) -> list[str]:
        """Names of this site's containers and workspaces."""
        found = self.engine.list({"hivemind.site": self.stores.ledger.site_id()})
        base = self.settings.state / "workspaces"
        return [one.name for one in found] + ([path.name for path in base.iterdir()] if base.is_dir() else [])

    def close(self) -> None:
        """Remove everything."""
        for prepared in self._prepared:
            self.runner.clean(prepared, keep_workspace=False)
        for found in self.engine.list({"hivemind.site": self.stores.ledger.site_id()}):
            self.engine.remove(found.id)
        self.runner.close()


class Body(threading.Thread):
    """A body in a thread of its own; `result` re-raises what it raised."""

    def __init__(self, kit: Kit, job: Job, handle: Handle) -> None:
        super().__init__(daemon=True)
        self._kit, self._job, self._handle = kit, job, handle
        self.started = threading.Event()
        self.prepared: Prepared | None = None
        self._ended: Ended | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """The body."""
        try:
            self.prepared = self._kit.prepare(self._job, self._handle)
            self._ended = self._kit.runner.run(self.prepared, self._handle, self.started.set)
        except BaseException as error:  # noqa: BLE001 - handed to whoever asks for the result
            self._error = error
        finally:
            self.started.set()

    def result(self) -> Ended:
        """Wait for the end."""
        self.join(60)
        assert not self.is_alive(), "the body did not end"
        if self._error is not None:
            raise self._error
        assert self._ended is not None
        return self._ended


def left_running(kit: Kit, job: Job, *, once: Callable[[], object] = lambda: True, what: str = "") -> Job:
    """Start it and let go of it once something holds; the job as the next worker claims it."""
    handle = Handle()
    body = kit.start(job, handle)
    until(once, what)
    handle.detach()
    with pytest.raises(Detached):
        body.result()
    handle.close()
    return job.model_copy(update={"state": State.RUNNING})


def workspace_of(kit: Kit, job: Job) -> Workspace:
    """That of its attempt."""
    return workspaces.workspace_of(kit.settings.state, job.task_id, job.attempt)


def python(code: str) -> tuple[str, str, str]:
    """A command."""
    return ("python3", "-c", code)


def go(kit: Kit, job: Job) -> None:
    """Open the gate of a GATED job."""
    (workspace_of(kit, job).work / "go").touch()


class Proxy:
    """A Unix socket in front of the engine's that can be cut and mended."""

    def __init__(self, path: Path, target: str = SOCKET) -> None:
        self.path = path
        self._target = target
        self._lock = threading.Lock()
        self._pairs: set[socket.socket] = set()
        self._server: socket.socket | None = None

    @property
    def url(self) -> str:
        """For HIVEMIND_DOCKER_HOST."""
        return f"unix://{self.path}"

    def mend(self) -> None:
        """Listen (again)."""
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.path.unlink(missing_ok=True)
        server.bind(str(self.path))
        server.listen(64)
        with self._lock:
            self._server = server
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def refuse(self) -> None:
        """Take no new connection, as an engine does that shuts down."""
        with self._lock:
            server, self._server = self._server, None
        if server is not None:
            self.path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()

    def cut(self) -> None:
        """Break every connection and take no new one."""
        self.refuse()
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for one in pairs:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            far.connect(self._target)
            with self._lock:
                alive = self._server is server
                if alive:
                    self._pairs |= {near, far}
            if not alive:
                near.close()
                far.close()
                return
            threads = [threading.Thread(target=_copy, args=pair, daemon=True) for pair in ((near, far), (far, near))]
            for thread in threads:
                thread.start()
            threading.Thread(target=self._bury, args=(threads, near, far), daemon=True).start()

    def _bury(self, threads: list[threading.Thread], near: socket.socket, far: socket.socket) -> None:
        for thread in threads:
            thread.join()
        with self._lock:
            self._pairs -= {near, far}
        near.close()
        far.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait for a thing that nobody can tell us about."""
    eventually(condition, seconds, what)


def lines(data: bytes) -> Iterator[str]:
    """Complete lines."""
    yield from data.decode().splitlines()
