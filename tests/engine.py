"""A container engine of one test's own: started, stopped, killed and frozen at will, the machine's own left alone.

    with private_engine() as engine:
        settings = load_settings(..., docker_host=engine.url)
        engine.kill()     # SIGKILL; containers live on or not, as the engine has it
        engine.up()       # and back, on the same data

Its data, sockets and containerd lie in a folder of their own, its containerd namespace is its own, and so is its
network: an engine that is told to have no bridge deletes the machine's docker0 wherever it sees it. Jobs on it run with
the network `none`. Needs root and `dockerd`. Also for the chaos harness: nothing here knows pytest, and any thread may
call it, one at a time.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import docker

from hivemind_worker.domain.errors import EngineUnavailable
from hivemind_worker.execution.wire import Address, call, open_stream
from tests.processes import eventually

BUSYBOX = "localhost/hivemind-busybox:latest"
#: seconds that an engine may take to come up on a machine that is busy with other tests
UP_WITHIN = 90.0


class OwnEngine:
    """One dockerd on a folder; `up` and `down` as often as one likes. `live_restore` may be changed in between."""

    def __init__(self, folder: Path, *, live_restore: bool = False, runtime: Path | None = None) -> None:
        """`folder`: short, for the engine's sockets lie in it and a Unix socket's path has 107 bytes.

        `runtime`: an OCI runtime that stands in for the engine's own.
        """
        self.folder, self.live_restore, self._runtime = folder, live_restore, runtime
        self.log = folder / "dockerd.log"
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For HIVEMIND_DOCKER_HOST and DOCKER_HOST."""
        return f"unix://{self.folder}/e.sock"

    @property
    def pid(self) -> int:
        """The daemon's."""
        assert self._child is not None, "the engine is down"
        return self._child.pid

    def up(self) -> None:
        """Start it, and wait until it answers. Harmless when it runs."""
        if self._child is not None and self._child.poll() is None:
            return
        name = f"test-{self.folder.name}"
        options = {
            "data-root": self.folder / "data",
            "exec-root": self.folder / "x",
            "pidfile": self.folder / "pid",
            "host": self.url,
            "bridge": "none",
            "iptables": "false",
            "ip-forward": "false",
            "ip-masq": "false",
            "containerd-namespace": name,
            "containerd-plugins-namespace": f"{name}-plugins",
            "shutdown-timeout": 2,
        }
        own = self.folder / "daemon.json"  # not the machine's
        own.write_text("{}")
        command = [
            "unshare",
            "--net",
            "dockerd",
            f"--config-file={own}",
            *(f"--{key}={value}" for key, value in options.items()),
        ]
        if self.live_restore:
            command.append("--live-restore")
        if self._runtime is not None:
            command += [f"--add-runtime=own={self._runtime}", "--default-runtime=own"]
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"  # where Debian keeps dockerd and its helpers
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(command, env={**os.environ, "PATH": path}, stdout=log, stderr=log)
        eventually(self.answers, UP_WITHIN)

    def answers(self) -> bool:
        """Whether it does. One that died on the way up says why."""
        if self._child is None or self._child.poll() is not None:
            raise AssertionError(f"the engine is not up:\n{self.words()}")
        try:
            open_stream(Address.parse(self.url), "GET", "/_ping", timeout=5).close()
        except EngineUnavailable:
            return False
        return True

    def words(self, size: int = 4000) -> str:
        """The end of its log."""
        return self.log.read_bytes()[-size:].decode(errors="replace") if self.log.exists() else ""

    def down(self) -> None:
        """Tell it to leave, and wait: its containers end with it unless it has live-restore."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL. What becomes of its containers shows when it is up again."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze it: it takes connections and answers none of them. Its containers run on until their pipes fill."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Thaw it."""
        os.kill(self.pid, signal.SIGCONT)

    def load(self, *images: str) -> None:
        """Copy images from the machine's engine."""
        source, target = docker.APIClient(), docker.APIClient(base_url=self.url, timeout=300)
        try:
            for image in images:
                for line in target.load_image(source.get_image(image)) or ():
                    assert "error" not in line, line
        finally:
            source.close()
            target.close()

    def containers(self) -> list[str]:
        """The names of all that are there, running or not."""
        found = call(Address.parse(self.url), "GET", "/v1.41/containers/json?all=1", timeout=60)
        return sorted(one["Names"][0].removeprefix("/") for one in found)

    def close(self) -> None:
        """Remove its containers, end it, and take its folder away, whatever state it was left in."""
        if self._child is not None and self._child.poll() is None:
            self.resume()
        try:
            self.up()
            for name in self.containers():
                call(Address.parse(self.url), "DELETE", f"/v1.41/containers/{name}?force=1&v=1", timeout=120)
            self.down()
        finally:
            self._end(signal.SIGKILL)
            self._end_leftovers()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        if child.poll() is None:
            child.send_signal(number)
        try:
            child.wait(60)
        finally:
            if child.poll() is None:
                child.kill()
                child.wait(10)
        # It dies with the daemon, a moment later: the next daemon would take it for alive and wait for it in vain.
        eventually(lambda: not self._containerd_lives())

    def _containerd_lives(self) -> bool:
        try:
            pid = int((self.folder / "x" / "containerd" / "containerd.pid").read_text())
            return Path(f"/proc/{pid}/comm").read_text().strip() == "containerd"
        except (OSError, ValueError):
            return False

    def _end_leftovers(self) -> None:
        """Its containerd and shims, known by the folder on their command lines, and what they have mounted."""
        mark = os.fsencode(f"{self.folder}/")
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with suppress(OSError):
                if (entry / "exe").resolve().name.startswith("containerd") and mark in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
        mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for place in sorted((one for one in mounted if one.startswith(f"{self.folder}/")), reverse=True):
            subprocess.run(["umount", "--lazy", place], check=False)


def own_folder(prefix: str) -> Path:
    """A new directory with a short path, as sockets need, whose name a containerd namespace may have too."""
    folder = Path("/tmp") / f"{prefix}{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    return folder


@contextmanager
def private_engine(images: Sequence[str] = (BUSYBOX,), *, live_restore: bool = False) -> Iterator[OwnEngine]:
    """An engine that is up and has these images; nothing of it is left afterwards."""
    engine = OwnEngine(own_folder("hm-e-"), live_restore=live_restore)
    try:
        engine.up()
        engine.load(*images)
        yield engine
    finally:
        engine.close()
