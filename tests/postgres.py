"""A PostgreSQL of a test run's own: a private cluster in a temporary directory, on a Unix socket, never as root."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path


def server_programs() -> Path:
    """The directory of initdb and postgres: the newest version that Debian's packages left, else what PATH has."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = versions[-1] if versions else shutil.which("initdb")
    assert found, "PostgreSQL's server is not installed: ./dev test does it"
    return Path(found).parent


class Postgres:
    """One cluster. The server refuses to run as root, so root runs it as nobody."""

    def __init__(self) -> None:
        self._user = "nobody" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="hm-pg-"))  # short: a socket's path has 107 bytes
        if self._user is not None:
            os.chown(self.folder, pwd.getpwnam(self._user).pw_uid, -1)
        self.folder.chmod(0o700 if self._user is None else 0o755)
        self._programs = server_programs()
        self._server: subprocess.Popen[str] | None = None
        data = str(self.folder / "data")
        self._run("initdb", "-D", data, "-U", "hivemind", "-A", "trust", "-N", "-E", "UTF8", "--locale=C.UTF-8")

    @property
    def url(self) -> str:
        """Of the database `postgres`."""
        return f"postgresql://hivemind@/postgres?host={self.folder}"

    def up(self) -> None:
        """Takes connections when this returns."""
        options = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={self.folder}", "-c", "fsync=off"]
        self._server = subprocess.Popen(
            [str(self._programs / "postgres"), "-D", str(self.folder / "data"), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            user=self._user,
        )
        assert self._server.stderr is not None
        said = []
        for line in self._server.stderr:
            said.append(line)
            if "ready to accept connections" in line:
                threading.Thread(target=self._server.stderr.read, daemon=True).start()  # a full pipe would stop it
                return
        raise AssertionError("".join(said))

    def signal(self, number: signal.Signals) -> None:
        """To the server and its children."""
        assert self._server is not None
        children = Path(f"/proc/{self._server.pid}/task/{self._server.pid}/children").read_text().split()
        for pid in [self._server.pid, *map(int, children)]:
            os.kill(pid, number)

    def down(self) -> None:
        """Gone at once, whatever is connected."""
        if self._server is not None:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(30)
            assert self._server.stderr is not None
            self._server.stderr.close()
            self._server = None

    def remove(self) -> None:
        """Nothing of it stays."""
        self.down()
        shutil.rmtree(self.folder)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            user=self._user,
        )
        assert done.returncode == 0, done.stderr
