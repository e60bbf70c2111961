"""What can go wrong at the person's door, and how each thing is said: a kind, one line, an exit code."""

from __future__ import annotations

import sys
from dataclasses import dataclass

#: gRPC's words for 'the other side is not there'; the connection, not the request, is at fault
AWAY = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One error as a person or a script sees it. `kind` is a gRPC status name or a word in capitals."""

    kind: str
    message: str
    field: str | None = None
    code: int = 1


class CliError(Exception):
    """An error of the command line's own: one line for a person, and the exit code."""

    def __init__(self, message: str, *, kind: str = "FAILED", field: str | None = None, code: int = 1) -> None:
        super().__init__(message)
        self.message, self.kind, self.field, self.code = message, kind, field, code


def fault_of(error: Exception, bridge: str) -> Fault | None:
    """The fault that an exception stands for; None for one that nobody expected."""
    if isinstance(error, CliError):
        return Fault(error.kind, error.message, error.field, error.code)
    # Asked of the modules that are loaded already: an error from a module that is not cannot be here.
    client = sys.modules.get("bridge.client")
    if client is not None and isinstance(error, client.CallError):
        return call_fault(error.code, error.message, error.field, bridge)
    domain = sys.modules.get("hivemind_worker.domain.errors")
    if domain is not None and isinstance(error, domain.HiveMindError):
        return Fault(error.code.upper(), str(error), getattr(error, "field", None))
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return Fault("OS", f"{where}{error.strerror}")
    return None


def call_fault(kind: str, message: str, field: str | None, bridge: str) -> Fault:
    """An error of the bridge's. One that means that it is away names the address and the remedy."""
    if kind == "UNAVAILABLE" and bridge in message:
        return Fault(kind, f"{message}, or name another with --bridge HOST:PORT or HIVEMIND_BRIDGE")
    if kind == "UNAVAILABLE":
        return Fault(kind, f"the bridge at {bridge} cannot serve this now: {message}")
    if kind == "UNAUTHENTICATED":
        return Fault(kind, f"{message}; give a token with --token or HIVEMIND_TOKEN", field)
    return Fault(kind, message, field or None)
