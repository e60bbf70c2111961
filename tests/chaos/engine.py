"""The campaign's container engine: its runtime is the witness, and its events are recorded from outside."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.chaos.journal import Journal, of_wall
from tests.engine import OwnEngine

#: what of the engine's events is recorded
ACTIONS = ("create", "start", "die", "kill", "destroy", "oom", "rename")


class Engine(OwnEngine):
    """One dockerd, and a thread that reads its events across its restarts."""

    def __init__(self, folder: Path, runtime: Path, journal: Journal) -> None:
        super().__init__(folder, live_restore=True, runtime=runtime)
        self._journal = journal
        self._ending = threading.Event()
        self._since = time.time()
        self._recorder = threading.Thread(
            target=journal.guarded("engine events", self._record), name="engine events", daemon=True
        )
        folder.mkdir()

    def watch(self) -> None:
        """Record its events from now on."""
        self._recorder.start()

    def ask(self, path: str, timeout: float = 30.0) -> Any:
        """One GET of its API. Raises OSError when it does not answer or refuses."""
        with contextlib.closing(_Connection(f"{self.folder}/e.sock", timeout)) as connection:
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                body = answer.read()
            except http.client.HTTPException as error:
                raise ConnectionError(str(error)) from error
        if answer.status >= 400:
            raise OSError(answer.status, body.decode("utf-8", "replace"))
        return json.loads(body)

    def networks(self) -> list[str]:
        """Names of those that an engine does not have by itself."""
        return [one["Name"] for one in self.ask("/networks") if one["Name"] not in ("none", "host", "bridge")]

    def stop_watching(self) -> None:
        """The rest of its events are the harness' own doing."""
        self._ending.set()

    def _record(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
                self._follow()
            self._ending.wait(0.1)

    def _follow(self) -> None:
        """Read events until the connection breaks, and note from where to go on."""
        filters = quote(json.dumps({"type": ["container"]}))
        with contextlib.closing(_Connection(f"{self.folder}/e.sock", 5.0)) as connection:
            connection.request("GET", f"/events?since={self._since:.6f}&filters={filters}")
            answer = connection.getresponse()
            assert connection.sock is not None
            connection.sock.settimeout(None)
            for line in answer:
                event = json.loads(line)
                self._since = event["timeNano"] / 1e9 + 1e-6
                if event["Action"] in ACTIONS and not self._ending.is_set():
                    self._note(event)

    def _note(self, event: dict[str, Any]) -> None:
        said = event["Actor"]["Attributes"]
        fields = {"action": event["Action"], "container": event["Actor"]["ID"], "name": said.get("name", "")}
        if "hivemind.task_id" in said:
            fields |= {"job": said["hivemind.task_id"], "attempt": int(said["hivemind.attempt"])}
        fields |= {name: said[name] for name in ("exitCode", "signal") if name in said}
        self._journal.note("engine", t=of_wall(event["timeNano"] // 1_000_000), **fields)


class _Connection(http.client.HTTPConnection):
    """HTTP over the engine's Unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("engine", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Instead of TCP."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
