"""The stack of docker-compose.yml for tests: built, up under a name of its own, and down again without a trace."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import docker
import docker.errors
import httpx

REPOSITORY = Path(__file__).parent.parent
BASE_IMAGE = "localhost/hivemind-base:latest"
#: the same name every time, so that what was built before is built on
NODE_IMAGE = "localhost/hivemind-node:acceptance"
SERVICES = frozenset({"redis", "bridge", "worker", "api", "flower"})

T = TypeVar("T")


def until(what: str, look: Callable[[], T | None], *, seconds: float) -> T:
    """Look until there is something to see, and give it back; a deadline that passes names what was awaited."""
    end, pause = time.monotonic() + seconds, threading.Event()
    while not (seen := look()):
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        pause.wait(0.2)
    return seen


def find_compose() -> list[str]:
    """The compose command of this machine, of either generation."""
    if shutil.which("docker") and _finished(["docker", "compose", "version"]).returncode == 0:
        return ["docker", "compose"]
    assert shutil.which("docker-compose"), "there is no compose tool; ./dev test installs one"
    return ["docker-compose"]


@dataclass(frozen=True)
class Stack:
    """One project of the compose tool."""

    project: str
    state: Path
    engine: docker.DockerClient
    command: tuple[str, ...]
    env: Mapping[str, str]

    def compose(self, *arguments: str, seconds: float = 120) -> str:
        """Run the compose tool on this project; what it said."""
        done = _finished([*self.command, *arguments], env=self.env, seconds=seconds)
        assert done.returncode == 0, f"{arguments[0]} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def hivemind(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run the `hivemind` command of this tree, from outside, against the published port."""
        words = [sys.executable, "-m", "hivemind_cli", "--bridge", self.address("bridge"), *arguments]
        return subprocess.run(words, env=self.env, cwd=REPOSITORY, capture_output=True, text=True, timeout=seconds)

    def container(self, service: str) -> Any:
        """The service's container as it is now."""
        (found,) = self._containers(f"com.docker.compose.service={service}")
        return found

    def address(self, service: str) -> str:
        """host:port under which this machine reaches a service's only published port."""
        ((published,),) = [ports for ports in self.container(service).ports.values() if ports]
        return f"{published['HostIp']}:{published['HostPort']}"

    def get(self, service: str, path: str) -> httpx.Response:
        """Ask a service over HTTP."""
        return httpx.get(f"http://{self.address(service)}{path}", timeout=30, trust_env=False)

    def all_healthy(self) -> bool:
        """Whether every service's own check says so. One that came to an end is not waited for."""
        states = {}
        for found in self._containers():
            state, service = found.attrs["State"], found.labels["com.docker.compose.service"]
            ended = state["Status"] in ("exited", "dead") or found.attrs["RestartCount"]
            assert not ended, f"{service} does not stay up, exit code {state['ExitCode']}: {state['Error']}"
            states[service] = state.get("Health", {}).get("Status")
        return states == dict.fromkeys(SERVICES, "healthy")

    def left_behind(self) -> list[str]:
        """Containers, networks and volumes of this project, and containers of its jobs."""
        mine = {"label": f"com.docker.compose.project={self.project}"}
        jobs = {"label": f"hivemind.node={self.project}"}
        left = [
            *self.engine.containers.list(all=True, filters=mine),
            *self.engine.containers.list(all=True, filters=jobs),
            *self.engine.networks.list(filters=mine),
            *self.engine.volumes.list(filters=mine),
        ]
        return [thing.name for thing in left]

    def _containers(self, *labels: str) -> list[Any]:
        wanted = [f"com.docker.compose.project={self.project}", *labels]
        return list(self.engine.containers.list(all=True, filters={"label": wanted}))


@contextmanager
def compose_stack(folder: Path) -> Iterator[Stack]:
    """Build it, bring it up, wait until it is well; afterwards nothing of it is left, whatever happened."""
    project = f"hm{uuid.uuid4().hex[:10]}"
    engine = docker.from_env()
    stack = Stack(project, folder / "state", engine, tuple(find_compose()), _environment(project, folder / "state"))
    try:
        _build(stack)
        try:
            stack.compose("up", "--detach", "--no-build", seconds=180)
            until("every service is healthy", stack.all_healthy, seconds=180)
            yield stack
        except BaseException:
            print(stack.compose("logs", "--no-color", "--tail=100"))
            raise
        finally:
            stack.compose("down", "--volumes", "--remove-orphans", "--timeout=20", seconds=180)
            _remove_state(stack)
        assert stack.left_behind() == []
    finally:
        engine.close()


def _environment(project: str, state: Path) -> dict[str, str]:
    """Ours without the developer's settings; port 0: the engine chooses one that is free."""
    mine = ("HIVEMIND_", "COMPOSE_", "FLOWER_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(mine)}
    return clean | {
        "COMPOSE_PROJECT_NAME": project,
        "COMPOSE_HTTP_TIMEOUT": "180",
        "BASE_IMAGE": BASE_IMAGE,
        "NODE_IMAGE": NODE_IMAGE,
        "HIVEMIND_STATE": str(state),
        "HIVEMIND_NODE_ID": project,
        "HIVEMIND_BRIDGE_PORT": "0",
        "HIVEMIND_API_PORT": "0",
        "HIVEMIND_FLOWER_PORT": "0",
    }


def _build(stack: Stack) -> None:
    """One build for all services. What it replaces nobody will use again; the newest is what the next builds on."""
    before = _image_id(stack.engine)
    stack.compose("build", "redis", seconds=600)
    stages = stack.engine.images.list(filters={"dangling": True, "label": "hivemind.stage=build"})
    replaced = [stage.id for stage in sorted(stages, key=lambda stage: str(stage.attrs["Created"]))[:-1]]
    if before not in (None, _image_id(stack.engine)):
        replaced.append(before)
    for image in replaced:
        with suppress(docker.errors.APIError):  # another run uses it, or removed it
            stack.engine.images.remove(image)


def _image_id(engine: docker.DockerClient) -> str | None:
    try:
        return str(engine.images.get(NODE_IMAGE).id)
    except docker.errors.ImageNotFound:
        return None


def _remove_state(stack: Stack) -> None:
    """It belongs to root, who need not be the one that runs the tests."""
    folder = {str(stack.state.parent): {"bind": "/folder", "mode": "rw"}}
    command = ["rm", "-rf", f"/folder/{stack.state.name}"]
    stack.engine.containers.run(BASE_IMAGE, command, volumes=folder, network_mode="none", remove=True)


def _finished(
    command: list[str], *, env: Mapping[str, str] | None = None, seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run it to its end, both outputs in one."""
    return subprocess.run(
        command, env=env, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds
    )
