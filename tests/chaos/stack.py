"""The real stack: its own engine and Redis, a node by `hivemind up` with a second worker, and a second node."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from hivemind_cli import nodefile
from hivemind_cli.redis_server import find_server, server_command
from hivemind_worker.settings import Settings
from tests.chaos.children import Child, signal_pid
from tests.chaos.engine import Engine
from tests.chaos.journal import Journal
from tests.chaos.proxy import Proxies
from tests.chaos.witness import Witness
from tests.disks import MIB
from tests.processes import REPOSITORY, eventually

#: ports: the campaign has a network namespace of its own
REDIS, BRIDGE, API = 16379, 50053, 5000
#: each worker's own way to Redis: the node by `hivemind up`, its second worker, the second node
DOORS = {"n1": 17001, "w2": 17002, "n2": 17003}
#: the node with the bridge: every job with a bundle or secrets is at home there, and runs nowhere else
HOME = "n1"
WORKERS = {"n1": "worker@n1", "w2": "w2@n1", "n2": "worker@n2"}


@dataclass(frozen=True)
class NodeCaps:
    """What a node may lend."""

    millicores: int = 2000
    memory: int = 192 * MIB
    slots: int = 6
    disk: int = 192 * MIB


@dataclass(frozen=True)
class Terms:
    """How the product is set for a campaign; the rest of its settings are its defaults."""

    node_lost_after: float = 20.0
    #: the nemesis takes workers down all the time: no job is to be blamed for that
    poison_after: int = 100
    on_partition: str = "keep"


class Stack:
    """All of it. Build it inside namespaces of its own (see inside.py); `close` ends everything it started."""

    def __init__(self, root: Path, journal: Journal, terms: Terms) -> None:
        self.root, self.journal, self.terms = root, journal, terms
        self.caps = NodeCaps()
        self.logs = root / "logs"
        self.armed = root / "armed"
        for folder in (self.logs, self.armed, root / "redis"):
            folder.mkdir()
        self.nodes = {name: self._make_node(name) for name in ("n1", "n2")}
        # n2 has no bridge: what its jobs leave is fetched through n1's. Bundles and secrets stay with their home.
        artifacts = self.nodes[HOME] / "blobs" / "artifacts"
        artifacts.mkdir()
        (self.nodes["n2"] / "blobs" / "artifacts").symlink_to(artifacts)
        self.witness = Witness(root / "seen", journal, runc=shutil.which("runc") or "/usr/sbin/runc")
        self.engine = Engine(root / "e", self.witness.runtime, journal)
        self.proxies = Proxies(REDIS)
        self.children: dict[str, Child] = {}
        self.client = redis.Redis(port=REDIS, socket_timeout=20, socket_connect_timeout=2)

    def _make_node(self, name: str) -> Path:
        state = self.root / name
        (state / "workspaces").mkdir(parents=True)
        (state / "blobs").mkdir()
        options = f"size={self.caps.disk},nr_inodes=20000,mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(state / "workspaces")], check=True)
        return state

    # --- up --------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Start everything and wait until both nodes are there."""
        self.engine.up()
        self.engine.load("localhost/hivemind-busybox:latest")
        self.engine.watch()
        binary = find_server()
        assert binary is not None
        command = server_command(binary, self.root / "redis", port=REDIS)
        # What a node that is asked for `always` runs with; kill -9 then takes nothing that was answered.
        self._add("redis", [*command, "--appendfsync", "always"])
        eventually(self.redis_answers)
        for name, port in DOORS.items():
            self.proxies.open(name, port)
        python = sys.executable
        self._add("n1", [python, "-m", "hivemind_cli", "up"])
        celery = [
            python,
            "-m",
            "celery",
            "-A",
            "hivemind_worker",
            "worker",
            "--without-mingle",
            "--without-gossip",
            "-n",
        ]
        self._add("w2", [*celery, WORKERS["w2"]])
        self._add("n2", [*celery, WORKERS["n2"]])
        eventually(lambda: self.leases() == set(WORKERS.values()) and self.service("bridge") is not None, 120)

    def _add(self, name: str, command: list[str]) -> None:
        child = Child(name, command, self.environment(name), self.logs / f"{name}.log", self.journal)
        self.children[name] = child
        child.up()

    def environment(self, name: str) -> dict[str, str]:
        """What a process of the stack is started with."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("HIVEMIND_", "CHAOS_"))}
        if name == "redis":
            return clean
        node = "n2" if name == "n2" else "n1"
        said = {
            "HIVEMIND_STATE": str(self.nodes[node]),
            "HIVEMIND_NODE_ID": node,
            "HIVEMIND_REDIS_URL": f"redis://127.0.0.1:{DOORS[name]}",
            "HIVEMIND_DOCKER_HOST": self.engine.url,
            "HIVEMIND_BRIDGE_PORT": str(BRIDGE),
            "HIVEMIND_API_PORT": str(API),
            "HIVEMIND_FLOWER_ENABLED": "0",
            "HIVEMIND_PULL": "never",
            "HIVEMIND_MAX_CPU_CORES": f"{self.caps.millicores / 1000:g}",
            "HIVEMIND_MAX_MEMORY_GB": f"{self.caps.memory / 1024**3:g}",
            "HIVEMIND_MAX_CONCURRENT_TASKS": str(self.caps.slots),
            "HIVEMIND_RESERVE_DISK": "8M",
            "HIVEMIND_NODE_LOST_AFTER": f"{self.terms.node_lost_after:g}",
            "HIVEMIND_ON_PARTITION": self.terms.on_partition,
            "HIVEMIND_POISON_AFTER": str(self.terms.poison_after),
            "HIVEMIND_DURABILITY": "always",
        }
        # The harness may run on a tree that has no such setting yet; an unknown one would stop the start.
        known = {f"HIVEMIND_{field.upper()}" for field in Settings.model_fields}
        chaos = {"CHAOS_KILLPOINTS": "tests.chaos.points", "CHAOS_ARMED": str(self.armed), "CHAOS_PROCESS": name}
        return clean | {key: said[key] for key in said if key in known} | chaos | {"PYTHONPATH": str(REPOSITORY)}

    # --- looking -----------------------------------------------------------------------------------------

    def redis_answers(self) -> bool:
        """Whether the server does, asked directly."""
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def leases(self) -> set[str]:
        """Workers that hold a lease."""
        try:
            keys = self.client.keys("{hivemind}:lease:*")
        except redis.RedisError:
            return set()
        return {key.decode().split(":")[-1] for key in keys}

    def service(self, name: str) -> int | None:
        """The process id of a service that `hivemind up` supervises, if it runs."""
        with contextlib.suppress(OSError, ValueError):
            document = nodefile.read(self.nodes["n1"])
            for one in document["services"] if document else ():
                if one["name"] == name and one["pid"]:
                    return int(one["pid"])
        return None

    def worker_pid(self, name: str) -> int | None:
        """The process id of a worker."""
        return self.service("worker") if name == "n1" else self.children[name].pid

    def signal_worker(self, name: str, number: signal.Signals) -> int | None:
        """Send a worker a signal; its process id, or None when it did not run."""
        pid = self.worker_pid(name)
        return pid if pid is not None and signal_pid(pid, number) else None

    # --- down --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End everything, workers first."""
        for name in ("w2", "n2", "n1", "redis"):
            if name in self.children:
                self.children[name].close()
        self.engine.stop_watching()
        with contextlib.suppress(Exception):
            self.engine.close()
        self.witness.close()
        self.proxies.close()
        self.client.close()
        for state in self.nodes.values():
            subprocess.run(["umount", "--lazy", str(state / "workspaces")], check=False)


def log_ends(folder: Path, lines: int) -> Iterator[tuple[str, list[str]]]:
    """The last lines of each process' log."""
    for path in sorted(folder.glob("*.log")):
        yield path.name, path.read_text(errors="replace").splitlines()[-lines:]
