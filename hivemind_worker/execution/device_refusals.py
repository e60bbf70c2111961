"""An engine that cannot give devices to containers: what it said is kept, and the node lends none while it stands.

There is no asking ahead: Docker gives devices through a runtime, a hook in its path or a CDI description, names only
some of them in `/info`, and looks for them when a container starts. So the first refusal is believed, by every worker
of the node, until the engine was started anew: what it lacks is looked for at its start.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Protocol

import structlog

from hivemind_worker.execution.restarts import same_engine
from hivemind_worker.execution.since import Moment
from hivemind_worker.execution.text import one_line
from hivemind_worker.execution.wire import EngineRefused

log = structlog.get_logger()

#: Docker up to 28, and from 29 on
_SAID = ("could not select device driver", "no known GPU vendor found", "failed to discover GPU vendor")
REMEDY = "install NVIDIA's container toolkit and restart the engine"


def gives_none(words: str) -> bool:
    """Whether an engine that refuses a start with these words gives devices to no container. Pure."""
    return any(said in words for said in _SAID)


class DevicesRefused(EngineRefused):
    """The engine has no way to give a container its devices: the node's fault, and every next job's too."""

    code = "devices_refused"


class Started(Protocol):
    """The part of the engine that is needed here."""

    def started_at(self) -> Moment | None:
        """When its process was started; None where that cannot be known."""


class DeviceRefusals:
    """The refusal that stands, in the node's state directory. Threads and workers may share it. Never raises."""

    def __init__(self, engine: Started, state: Path) -> None:
        self._engine, self._path = engine, state / "devices_refused.json"

    def note(self, words: str) -> None:
        """The engine refused a start for want of a way to give devices."""
        started = self._engine.started_at()
        said = {"words": one_line(words), "engine": started.fields() if started else None}
        log.error("the engine gives no devices", why=said["words"])
        draft = self._path.with_name(f"{self._path.name}.{os.getpid()}.new")
        try:
            draft.write_text(json.dumps(said), "utf-8")
            draft.replace(self._path)
        except OSError as error:
            log.warning("refusal not kept", why=str(error))

    def trouble(self) -> str:
        """Why no device can be lent; '' when nothing speaks against it."""
        try:
            said = json.loads(self._path.read_text("utf-8"))
            words, noted = str(said["words"]), Moment.parse(said["engine"] or {})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return ""
        now = self._engine.started_at()
        if noted is not None and now is not None and not same_engine(noted, now):
            self._forget()
            return ""
        return f"the container engine gives no devices: {words}; {REMEDY}"

    def begin(self) -> None:
        """A worker comes up: an engine whose start cannot be seen is tried again."""
        if self._path.exists() and self._engine.started_at() is None:
            self._forget()

    def _forget(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("refusal not forgotten", why=str(error))
