"""What the supervisor tells: a person at the terminal, or the `hivemind up --detach` that waits for it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from hivemind_cli.plan import Plan
from hivemind_cli.preparing import StartRefused


class Reporter:
    """`ready_fd`: the pipe of a detached start, which gets one JSON line and is closed."""

    def __init__(self, plan: Plan, *, ready_fd: int | None, as_json: bool) -> None:
        self._plan, self._ready_fd, self._json = plan, ready_fd, as_json
        self.at_terminal = ready_fd is None

    def say(self, message: str) -> None:
        """A line about what goes on."""
        if not self.at_terminal:
            return
        with suppress(OSError):  # the terminal may be gone
            print(f"hivemind: {message}", file=sys.stderr, flush=True)

    def up(self, document: dict[str, Any], seconds: float, remarks: Sequence[str] = ()) -> None:
        """The node is ready; `remarks`: what it says is odd about itself."""
        shown, warnings = public(document), [*self._plan.warnings, *remarks]
        if not self.at_terminal:
            self._send({"up": shown, "seconds": seconds, "warnings": warnings})
            return
        with suppress(OSError):
            for line in warnings:
                print(f"hivemind: warning: {line}", file=sys.stderr)
            print(json.dumps(shown) if self._json else "\n".join(announcement(shown, seconds)), flush=True)
            print("Ctrl-C stops the node; running jobs go on.", file=sys.stderr, flush=True)

    def failed(self, refusal: StartRefused) -> None:
        """The node will not come up."""
        failure = {
            "message": str(refusal),
            "last_words": refusal.last_words,
            "log": str(refusal.log) if refusal.log else None,
        }
        if not self.at_terminal:
            self._send({"failed": failure})
            return
        with suppress(OSError):
            for line in [*last_words(failure), f"error: HiveMind did not come up: {refusal}"]:
                print(line, file=sys.stderr, flush=True)
            if self._json:
                print(json.dumps({"error": {"code": "NOT_UP", "message": str(refusal), "field": None}}), flush=True)

    def _send(self, document: dict[str, Any]) -> None:
        if self._ready_fd is None:
            return
        with suppress(OSError), os.fdopen(self._ready_fd, "w", encoding="utf-8") as pipe:
            pipe.write(json.dumps(document) + "\n")
        self._ready_fd = None


def public(document: dict[str, Any]) -> dict[str, Any]:
    """node.json without what may hold a password."""
    return {key: value for key, value in document.items() if key != "redis"}


def announcement(document: dict[str, Any], seconds: float) -> list[str]:
    """Where everything is, for a person."""
    rows = [
        ("bridge", document["bridge"]),
        ("dashboard", document["dashboard"]),
        ("API", f"{document['api']}/openapi.json"),
        ("Flower", document["flower"]),
        ("state", document["state"]),
        ("logs", document["logs"]),
    ]
    lines = [f"HiveMind is up: node {document['node']}, ready after {seconds:.1f} s"]
    return lines + [f"  {name:<10} {value}" for name, value in rows if value]


def last_words(failure: dict[str, Any]) -> list[str]:
    """The end of the log of the service that failed, for a person."""
    lines = [f"  | {line}" for line in failure["last_words"]]
    return [*lines, f"  whole log: {failure['log']}"] if failure["log"] else lines
