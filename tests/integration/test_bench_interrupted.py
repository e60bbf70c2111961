"""A benchmark that is interrupted takes along what it started: containers, processes, files."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from tests.engine import own_folder
from tests.processes import REPOSITORY, eventually


def containers(engine: docker.DockerClient, below: Path) -> list[str]:
    """Those that have something of this directory mounted."""
    found = engine.api.containers(all=True, filters={"label": "hivemind.node=bench"})
    return [one["Names"][0] for one in found if any(str(below) in mount["Source"] for mount in one["Mounts"])]


def processes(below: Path) -> list[bytes]:
    """Command lines of those that were started with something of this directory in their environment or arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                said = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                if os.fsencode(below) in said:
                    found.append((entry / "cmdline").read_bytes())
    return found


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_an_interrupted_benchmark_leaves_nothing(engine: docker.DockerClient, how: str) -> None:
    own = own_folder("hm-b-")
    env = {name: value for name, value in os.environ.items() if not name.startswith("HIVEMIND_")}
    env |= {"TMPDIR": str(own), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "bench.live", "--small", "200", "--large", "0", "--alone", "0"]
    ours, theirs = pty.openpty()
    try:
        child = subprocess.Popen(
            command, env=env, stdin=theirs, stdout=theirs, stderr=theirs, cwd=REPOSITORY,
            start_new_session=True, preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),
        )  # fmt: skip
        os.close(theirs)
        eventually(lambda: containers(engine, own), 120, "a job of the benchmark")
        if how == "Ctrl-C":
            os.write(ours, b"\x03")
        else:
            child.send_signal(signal.SIGTERM)
        assert child.wait(120) == 130
    finally:
        os.close(ours)
    assert containers(engine, own) == []
    assert processes(own) == []
    assert list(own.iterdir()) == []
    own.rmdir()
