"""What runs on a node that was cut off, and nobody watches: its worker was restarted, and can claim nothing.

Only for nodes that were told to stop then. The site's id, and when a worker of this state directory last beat, are on
disk; by the clock that counts from the machine's boot, so that they mean something to the next process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import replace

import structlog

from hivemind_worker.domain.errors import HiveMindError
from hivemind_worker.execution.engine import Engine
from hivemind_worker.execution.found import Found
from hivemind_worker.execution.janitor import attempt_of
from hivemind_worker.execution.launch import mounted_by
from hivemind_worker.execution.node_names import noted_names
from hivemind_worker.execution.sandbox import LABEL_NODE, LABEL_SITE
from hivemind_worker.execution.since import Moment
from hivemind_worker.execution.workspace import workspaces_of
from hivemind_worker.settings import Settings

log = structlog.get_logger()

#: bytes of the note, written over in place: a full disk has room for it
_SIZE = 512


class Unwatched:
    """Of one state directory. The admission thread notes, the partition's thread asks and ends."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._node = engine, settings.node_id
        self._state, self._base = settings.state, settings.state / "workspaces"
        self._file = settings.state / "heartbeat.json"
        self._told: set[str] = set()

    def note(self, site: str, ago: float) -> None:
        """A heartbeat, sent `ago` seconds, has reached the site's Redis. Does not raise."""
        self._told.clear()
        now = Moment.now()
        said = json.dumps({"site": site, **replace(now, up=now.up - ago).fields()}).ljust(_SIZE).encode()
        try:
            file = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(file, said, 0)
            finally:
                os.close(file)
        except OSError as error:
            log.warning("heartbeat not noted", error=str(error))

    def silent(self) -> float:
        """Seconds since a worker of this directory last beat; 0 where nothing of this boot is known."""
        _, moment = self._noted()
        now = Moment.now()
        return max(0.0, now.up - moment.up) if moment is not None and moment.boot == now.boot else 0.0

    def end(self, held: Collection[str], *, kill: bool) -> int:
        """End what runs of this node, but for the jobs that bodies hold; how many were told.

        SIGTERM once, SIGKILL where told to `kill`. An engine that does not answer is asked again next time.
        """
        site, _ = self._noted()
        if not site:
            return 0
        nodes = {self._node} | noted_names(self._state)
        try:
            return sum(
                self._end(found, kill)
                for found in self._engine.list({LABEL_SITE: site})
                if found.running and found.labels.get(LABEL_NODE) in nodes and attempt_of(found)[0] not in held
            )
        except HiveMindError as error:
            log.warning("containers nobody watches not ended", why=str(error))
            return 0

    def _end(self, found: Found, kill: bool) -> bool:
        """The next worker that watches it finds noted why it ended."""
        if found.id in self._told and not kill:
            return False
        self._told.add(found.id)
        whole = self._engine.inspect(found.id)  # a list does not tell what is mounted
        workspace = mounted_by(whole, workspaces_of(self._base, *attempt_of(found))) if whole is not None else None
        if workspace is not None and workspace.ended_for:
            workspace = None  # why it ends is noted already
        if workspace is not None:
            workspace.note_end("partition")
        ended = self._engine.kill(found.id, "SIGKILL" if kill else "SIGTERM")
        if workspace is not None and not ended:
            workspace.note_end("")
        return ended

    def _noted(self) -> tuple[str, Moment | None]:
        try:
            said = json.loads(self._file.read_bytes())
            return str(said["site"]), Moment.parse(said)
        except (OSError, ValueError, KeyError, TypeError):
            return "", None
