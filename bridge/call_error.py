"""The one error of the client: a code, a sentence, and the field to blame if there is one."""

from __future__ import annotations

import re
from typing import Any

#: how gRPC's own channel begins when it has lost the bridge, or never found it; the bridge's words begin otherwise
_TRANSPORT = re.compile(
    r"(ipv[46]:\S+ |unix:\S+ )?"
    r"(failed to connect|errors? resolving|DNS resolution|Stream removed|Socket closed|Connection re|recvmsg|sendmsg"
    r"|GOAWAY|Broken pipe|Endpoint closing)",
    re.IGNORECASE,
)
#: all that gRPC says of a call that a server ended as it stopped; who cancels a call of its own is told more
_CUT_OFF = "CANCELLED"


class CallError(Exception):
    """A call to the bridge failed. `code` is gRPC's name for it, as in NOT_FOUND; `field` names a bad field."""

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field

    @classmethod
    def of(cls, error: Any, address: str) -> CallError:
        """From gRPC's error. Says in plain words when nobody answers."""
        code, details = error.code().name, error.details() or ""
        if code == "DEADLINE_EXCEEDED":
            return cls(code, f"the bridge at {address} did not answer in time; try again")
        if code == "UNAVAILABLE" and _TRANSPORT.match(details):
            return cls(code, f"no bridge answers at {address}; is the node up? `hivemind up` starts one")
        if code == "CANCELLED" and details == _CUT_OFF:
            return cls("UNAVAILABLE", f"the bridge at {address} stopped in the middle of the call; try again")
        return cls(code, details or code.lower().replace("_", " "), _field(error))


def _field(error: Any) -> str | None:
    """The field of the first violation in google.rpc.BadRequest."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            from google.rpc import error_details_pb2, status_pb2

            for detail in status_pb2.Status.FromString(value).details:
                bad = error_details_pb2.BadRequest()
                if detail.Unpack(bad) and bad.field_violations:
                    return str(bad.field_violations[0].field)
    return None
