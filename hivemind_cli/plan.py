"""What `hivemind up` is going to start: settings in, a list of services out, as plain data.

The supervisor reads the plan and nothing else, so it needs no settings library for the rest of its life.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Service:
    """One child process. Smaller stages start first and stop last; those of one stage do so together."""

    name: str
    argv: tuple[str, ...]
    #: {"kind": "redis" | "grpc" | "http" | "worker", …}: see readiness.py
    probe: dict[str, Any]
    stage: int
    #: seconds between SIGTERM and SIGKILL
    grace: float


@dataclass(frozen=True, slots=True)
class Door:
    """A port that a service will listen on, and the setting that moves it."""

    service: str
    host: str
    port: int
    setting: str

    @property
    def address(self) -> str:
        """HOST:PORT as a client on this machine writes it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Plan:
    """One node. `redis` may hold a password: the plan is for the supervisor and for node.json (0600) alone."""

    node: str
    state: str
    version: str
    redis: str
    #: directories that must be there before anything starts, for this user alone
    folders: tuple[str, ...]
    services: tuple[Service, ...]
    doors: tuple[Door, ...]
    #: things a person should know that do not keep the node from starting
    warnings: tuple[str, ...] = field(default=())

    def door(self, service: str) -> Door | None:
        """Where a service listens, if it is part of this plan."""
        return next((door for door in self.doors if door.service == service), None)

    def to_json(self) -> str:
        """The inverse of `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """A plan as another process wrote it."""
        body = json.loads(text)
        return cls(
            **{
                **body,
                "folders": tuple(body["folders"]),
                "services": tuple(Service(**{**one, "argv": tuple(one["argv"])}) for one in body["services"]),
                "doors": tuple(Door(**one) for one in body["doors"]),
                "warnings": tuple(body["warnings"]),
            }
        )
