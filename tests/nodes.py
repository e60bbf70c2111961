"""A whole node for tests, started and asked by the command line alone, with ports and a state of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hivemind_cli import nodefile

REPOSITORY = Path(__file__).parent.parent
BASE = "localhost/hivemind-base:latest"
#: an argument that stands for the `hivemind` script of an installed package
HIVEMIND = [sys.executable, "-m", "hivemind_cli"]


class Node:
    """A state directory and the `hivemind` commands on it."""

    def __init__(self, state: Path, name: str, **settings: str) -> None:
        self.state, self.name = state, name
        self.program = list(HIVEMIND)
        clean = {key: value for key, value in os.environ.items() if not key.startswith("HIVEMIND_")}
        ports = {f"HIVEMIND_{door}_PORT": "0" for door in ("BRIDGE", "API", "FLOWER")}
        own = {"HIVEMIND_STATE": str(state), "HIVEMIND_NODE_ID": name, "PYTHONPATH": str(REPOSITORY)}
        self.env = clean | ports | own | settings

    def up(self) -> None:
        """Start it detached; the commands below then know its bridge."""
        done = self.hivemind("up", "--detach")
        assert done.returncode == 0, done.stderr
        self.env["HIVEMIND_BRIDGE"] = self.document()["bridge"]

    def down(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Stop it."""
        return self.hivemind("down", *options)

    def document(self) -> dict[str, Any]:
        """node.json of the running node."""
        document = nodefile.read(self.state)
        assert document is not None, "no node runs"
        return document

    def service(self, name: str) -> int:
        """The process id of one of its services."""
        return int(next(one["pid"] for one in self.document()["services"] if one["name"] == name))

    def hivemind(self, *args: str) -> subprocess.CompletedProcess[str]:
        """One command, to its end."""
        return subprocess.run([*self.program, *args], env=self.env, capture_output=True, text=True, check=False)

    def json(self, *args: str) -> Any:
        """The document that a command prints under --json."""
        done = self.hivemind("--json", *args)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, *args: str) -> subprocess.Popen[str]:
        """One command, left running, with all it says in one pipe."""
        return subprocess.Popen(
            [*self.program, *args], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def end(self) -> None:
        """Whatever state a test left it in, nothing of it stays."""
        document = nodefile.read(self.state)
        if document is None:
            return
        if nodefile.runs(document):
            self.hivemind("down", "--stop-jobs", "--grace", "0")
        nodefile.end_leftovers(document, 5.0)


@contextmanager
def running_node(state: Path, name: str, **settings: str) -> Iterator[Node]:
    """A node that is up, without Flower; nothing of it stays."""
    node = Node(state, name, HIVEMIND_FLOWER_ENABLED="0", **settings)
    try:
        node.up()
        yield node
    finally:
        node.end()


def expect(process: subprocess.Popen[str], text: str) -> str:
    """The next line that a started command prints with this text in it; what came before is passed over."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if text in line:
            return line
    process.communicate()  # it has closed its output: it must not be left to fail a later test
    raise AssertionError(f"it never said {text!r}:\n{''.join(said)}")


def finish(process: subprocess.Popen[str], number: signal.Signals | None = None) -> tuple[int, str]:
    """Signal it if asked to; its exit code and the rest of what it says."""
    if number is not None:
        process.send_signal(number)
    rest, _ = process.communicate()
    return process.returncode, rest
