"""From a job to the container it may have: names, labels, caps, mounts, environment. Pure."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hivemind_worker.domain.assignment import Assignment
from hivemind_worker.domain.errors import EntrypointRefused
from hivemind_worker.domain.job import Job
from hivemind_worker.domain.resources import MIB
from hivemind_worker.execution.found import Found, ImageInfo
from hivemind_worker.settings import Settings

WORKDIR = "/workspace"
LABEL_SITE = "hivemind.site"
LABEL_NODE = "hivemind.node"
LABEL_TASK = "hivemind.task_id"
LABEL_ATTEMPT = "hivemind.attempt"
#: what makes a container one attempt's own; its node may have another name by now
OWNER_LABELS = (LABEL_SITE, LABEL_TASK, LABEL_ATTEMPT)

#: Docker's own default for a container of one core
SHARES_PER_CORE = 1024
MIN_SHARES, MAX_SHARES = 2, 262_144
#: the kernel, when the whole machine runs out of memory, ends a job rather than the engine or the worker
OOM_SCORE = 500
SHM_BYTES = 64 * MIB
#: with a device: computing and nvidia-smi, not the screen; and nothing between the program and the driver's libraries,
#: where tools that pretend to hold less memory put themselves
_GPU_ENVIRONMENT = {"NVIDIA_DRIVER_CAPABILITIES": "compute,utility", "LD_PRELOAD": ""}


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose container it is: written on it as labels, and part of its name."""

    site: str
    node: str
    task_id: str
    attempt: int

    @property
    def name(self) -> str:
        """The container's name: one per attempt, and so its fence."""
        return f"hm-{self.task_id}-{self.attempt}"

    @property
    def labels(self) -> dict[str, str]:
        """The container's labels."""
        return {
            LABEL_SITE: self.site,
            LABEL_NODE: self.node,
            LABEL_TASK: self.task_id,
            LABEL_ATTEMPT: str(self.attempt),
        }

    def owns(self, found: Found) -> bool:
        """Whether a container is this very attempt's."""
        return all(found.labels.get(key) == self.labels[key] for key in OWNER_LABELS)


@dataclass(frozen=True, slots=True)
class Program:
    """What the container starts: Docker's Entrypoint and Cmd."""

    entrypoint: tuple[str, ...]
    command: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """All of it, as the kernel sees it."""
        return self.entrypoint + self.command


@dataclass(frozen=True, slots=True)
class Place:
    """Where it runs: the workspace on this machine, and the user and group that own it."""

    work: Path
    uid: int
    gid: int


def program_of(spec: Assignment, image: ImageInfo, chosen: Sequence[str] | None) -> Program:
    """The words to start. `chosen`: the bundle's program; without a bundle the command means what it means to Docker.

    Raises EntrypointRefused.
    """
    if chosen is not None:
        return Program((), tuple(chosen))
    if spec.command:
        return Program(image.entrypoint, spec.command)
    if image.entrypoint or image.command:
        return Program(image.entrypoint, image.command)
    raise EntrypointRefused(
        f"there is no program to start: the assignment has neither a command nor a bundle, and image {spec.image} "
        "names none of its own"
    )


def container_body(
    job: Job,
    *,
    identity: Identity,
    program: Program,
    place: Place,
    image: ImageInfo,
    secrets: Mapping[str, str],
    gpus: Sequence[str],
    lent: int | None,
    settings: Settings,
    extra_env: Mapping[str, str],
) -> dict[str, Any]:
    """The body of Docker's create call (Engine API 1.41, `ContainerCreate`).

    `lent`: thousandths of a core that the node lends one container at most; None: not known.
    """
    spec = job.assignment
    return {
        "Image": spec.image,
        # An empty list, unlike null, also switches the image's own entry point off.
        "Entrypoint": list(program.entrypoint),
        "Cmd": list(program.command),
        "Env": _environment(job, secrets, gpus, extra_env),
        "User": f"{place.uid}:{place.gid}",
        "WorkingDir": WORKDIR,
        "Labels": identity.labels,
        "StopSignal": "SIGTERM",
        "Healthcheck": {"Test": ["NONE"]},
        "AttachStdin": False,
        "AttachStdout": True,
        "AttachStderr": True,
        "OpenStdin": False,
        "Tty": False,
        "HostConfig": _host_config(spec, place, image, gpus, lent, settings),
    }


def _environment(job: Job, secrets: Mapping[str, str], gpus: Sequence[str], extra: Mapping[str, str]) -> list[str]:
    """The job's own, then its secrets, then ours, which win; a home directory it may choose itself."""
    ours = {
        "TASK_ID": job.task_id,
        "HIVEMIND_ATTEMPT": str(job.attempt),
        "PYTHONUNBUFFERED": "1",
        # CUDA images ask for every device, and where NVIDIA's runtime is the default they would get them.
        "NVIDIA_VISIBLE_DEVICES": ",".join(gpus) or "void",
        **(_GPU_ENVIRONMENT if gpus else {}),
        **extra,
    }
    merged = {"HOME": WORKDIR, **job.assignment.env, **secrets, **ours}
    return [f"{name}={value}" for name, value in merged.items()]


def _host_config(
    spec: Assignment, place: Place, image: ImageInfo, gpus: Sequence[str], lent: int | None, settings: Settings
) -> dict[str, Any]:
    request = spec.requests
    return {
        "NanoCpus": _cores(spec, lent) * 1_000_000,
        "CpuShares": _weight(spec),
        "Memory": request.memory,
        "MemorySwap": request.memory,  # memory and swap together: no swap beyond the cap
        "OomKillDisable": False,
        "OomScoreAdj": OOM_SCORE,
        "PidsLimit": max(request.pids, 2),  # the engine's init is one of them
        "ShmSize": min(SHM_BYTES, request.memory),
        "Ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
        "Init": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Privileged": False,
        "IpcMode": "private",
        "ReadonlyRootfs": settings.read_only_rootfs,
        "Mounts": _mounts(place, image),
        "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={settings.tmp_size}"},  # noqa: S108
        "NetworkMode": "none" if spec.network == "none" else settings.docker_network,
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,  # the exited container holds the truth until the outcome is recorded
        "LogConfig": log_config(settings.max_log_bytes),
        "DeviceRequests": _devices(gpus),
    }


def _cores(spec: Assignment, lent: int | None) -> int:
    """The cap on cores, in thousandths: the limit within what the node lends, and what was reserved in any case.

    Where cores are lent twice a request may pass the machine, for which the engine would refuse the container.
    """
    request = spec.requests
    cap = max(request.millicores, min(request.limit_millicores, lent or 0))
    return min(cap, (os.cpu_count() or MAX_SHARES) * 1000)


def _weight(spec: Assignment) -> int:
    """Who gets how much when all want to run: by the request; a reclaimable job what nobody else wants."""
    request = spec.requests
    return (
        MIN_SHARES
        if request.reclaimable
        else min(max(MIN_SHARES, request.millicores * SHARES_PER_CORE // 1000), MAX_SHARES)
    )


def _mounts(place: Place, image: ImageInfo) -> list[dict[str, Any]]:
    """The workspace; and memory over volumes that the image declares, which would be disk without a bound."""
    workspace = {
        "Type": "bind",
        "Source": str(place.work),
        "Target": WORKDIR,
        "ReadOnly": False,
        "BindOptions": {"Propagation": "rprivate"},
    }
    covered = [
        {"Type": "tmpfs", "Target": path, "TmpfsOptions": {"Mode": 0o1777}}
        for path in image.volumes
        if path.rstrip("/") not in ("", WORKDIR, "/tmp")  # noqa: S108 - a path inside the container
    ]
    return [workspace, *covered]


def _devices(gpus: Sequence[str]) -> list[dict[str, Any]]:
    """By UUID: a number may be another device's after the next start of the machine."""
    return [{"DeviceIDs": list(gpus), "Capabilities": [["gpu", "compute", "utility"]]}] if gpus else []


def log_config(max_log_bytes: int) -> dict[str, Any]:
    """The engine's own copy of the output, from which a worker that comes back reads what it missed.

    Not `json-file`: that one replaces bytes that are not UTF-8, so that a replay would not line up with what was read.
    Two files of 1.25 times our cap hold at least the cap, whose rows weigh about 40 bytes more than their text.
    """
    size = max_log_bytes + max_log_bytes // 4
    return {"Type": "local", "Config": {"max-size": str(size), "max-file": "2", "compress": "false"}}
