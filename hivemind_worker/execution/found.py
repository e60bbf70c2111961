"""What the engine tells of containers and images, as plain data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

_FRACTION = re.compile(r"\.(\d{1,6})\d*")


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """One image: what it starts by default, and where it declares volumes."""

    id: str
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    env: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """One container. Times in epoch seconds, None: not yet; `pid` 0: it does not run."""

    id: str
    name: str
    status: str
    labels: Mapping[str, str] = field(default_factory=dict)
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    pid: int = 0
    created_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    #: the writable layer on this machine, where the storage driver has one
    upper: str = ""
    #: what lies on this machine behind each mount of the container's
    mounts: Mapping[str, str] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Whether its program may still do something."""
        return self.status in ("running", "paused", "restarting")


def parse_image(raw: Mapping[str, Any]) -> ImageInfo:
    """`GET /images/{name}/json` → image."""
    config = raw.get("Config") or {}
    return ImageInfo(
        id=str(raw.get("Id", "")),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        user=str(config.get("User") or ""),
        env=tuple(config.get("Env") or ()),
        volumes=tuple(sorted(config.get("Volumes") or ())),
    )


def parse_found(raw: Mapping[str, Any]) -> Found:
    """`GET /containers/{id}/json` → container."""
    state = raw.get("State") or {}
    driver = (raw.get("GraphDriver") or {}).get("Data") or {}
    return Found(
        id=str(raw["Id"]),
        name=str(raw.get("Name", "")).lstrip("/"),
        status=str(state.get("Status", "")),
        labels=dict((raw.get("Config") or {}).get("Labels") or {}),
        exit_code=int(state.get("ExitCode", 0)),
        oom_killed=bool(state.get("OOMKilled", False)),
        error=str(state.get("Error", "")),
        pid=int(state.get("Pid", 0)),
        created_at=parse_time(raw.get("Created")),
        started_at=parse_time(state.get("StartedAt")),
        finished_at=parse_time(state.get("FinishedAt")),
        upper=str(driver.get("UpperDir") or ""),
        mounts={str(one.get("Destination")): str(one.get("Source") or "") for one in raw.get("Mounts") or ()},
    )


def parse_listed(raw: Mapping[str, Any]) -> Found:
    """One entry of `GET /containers/json` → container."""
    names = raw.get("Names") or [""]
    return Found(
        id=str(raw["Id"]),
        name=str(names[0]).lstrip("/"),
        status=str(raw.get("State", "")),
        labels=dict(raw.get("Labels") or {}),
        created_at=float(raw["Created"]) if raw.get("Created") else None,
    )


def parse_time(text: Any) -> float | None:
    """The engine's RFC 3339 with nanoseconds → epoch seconds; its zero time → None."""
    if not isinstance(text, str) or not text or text.startswith("0001-"):
        return None
    return datetime.fromisoformat(_FRACTION.sub(r".\1", text).replace("Z", "+00:00")).timestamp()
