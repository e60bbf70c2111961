"""Messages as the contract's JSON shape: integers as integers, times as ISO 8601, None for what is absent; and back.

json_format would turn 64-bit integers into text and costs an import; this walks the descriptors instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: text fields that have no presence on the wire but are null in the contract when there is nothing to say
_NULL_WHEN_EMPTY = frozenset({"cause", "fault", "paid_by", "node", "home", "worker", "bundle_sha256"})


def plain(message: Any) -> dict[str, Any]:
    """One message as a dict with every field the contract knows."""
    return {field.name: _value(message, field) for field in message.DESCRIPTOR.fields}


def _value(message: Any, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            return dict(value)
        return [plain(item) if entry is not None else item for item in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    if field.message_type is not None:
        is_time = field.message_type.full_name == "google.protobuf.Timestamp"
        return iso(value) if is_time else plain(value)
    if field.name in _NULL_WHEN_EMPTY and message.DESCRIPTOR.name in ("Task", "TaskAttempt"):
        return value or None
    return value


def iso(stamp: Any) -> str:
    """A Timestamp with milliseconds, in UTC."""
    from datetime import UTC, datetime, timedelta

    when = datetime.fromtimestamp(stamp.seconds, UTC) + timedelta(milliseconds=stamp.nanos // 1_000_000)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def assignment_message(assignment: Mapping[str, Any]) -> Any:
    """A dict as hivemind.v1.Assignment, None left out. Raises CallError that names a field of the wrong kind."""
    from bridge.call_error import CallError
    from bridge.wire.hivemind.v1 import task_pb2

    message = task_pb2.Assignment()
    for name, value in assignment.items():
        if value is None:
            continue
        try:
            if name == "command" and isinstance(value, str):
                raise TypeError("must be a list of words, not one text")
            if name == "requests":
                value = task_pb2.Resources(**{part: amount for part, amount in value.items() if amount is not None})
            message.MergeFrom(task_pb2.Assignment(**{name: value}))
        except (TypeError, ValueError, AttributeError) as error:
            raise CallError("INVALID_ARGUMENT", f"{name}: {error}", name) from None
    return message


def caps_message(caps: Mapping[str, float]) -> Any:
    """A dict as hivemind.v1.NodeCaps. Raises CallError that names a cap of the wrong kind."""
    from bridge.call_error import CallError
    from bridge.wire.hivemind.v1 import node_pb2

    message = node_pb2.NodeCaps()
    for name, value in caps.items():
        try:
            setattr(message, name, value)
        except (TypeError, ValueError, AttributeError) as error:
            raise CallError("INVALID_ARGUMENT", f"{name}: {error}", name) from None
    return message
