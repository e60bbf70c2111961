"""Between our plain data and the wire's messages. Strict one way and the other: an unknown field is an error."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from bridge.wire.hivemind.v1 import node_pb2, task_pb2


def assignment_fields(message: task_pb2.Assignment) -> tuple[dict[str, Any], dict[str, str]]:
    """An assignment off the wire as (fields, secrets). A field that was not sent is absent, so its default applies."""
    fields: dict[str, Any] = {"task_id": message.task_id}
    fields |= {field.name: value for field, value in message.ListFields()}
    fields.pop("secrets", None)
    if message.command:
        fields["command"] = tuple(message.command)
    if message.env:
        fields["env"] = dict(message.env)
    if message.HasField("requests"):
        fields["requests"] = {field.name: value for field, value in message.requests.ListFields()}
    return fields, dict(message.secrets)


def task_message(view: Mapping[str, Any]) -> task_pb2.Task:
    """The contract's view of a job as a message. Raises ValueError for a field the message does not have."""
    fields = _present(view)
    fields["times"] = _stamps(fields.get("times", {}))
    if promise := fields.get("waiting", {}).get("promise"):
        promise |= _stamps({"at": promise["at"]})
    attempts = [task_pb2.TaskAttempt(**_attempt(attempt)) for attempt in fields.pop("attempts", ())]
    return task_pb2.Task(attempts=attempts, **fields)


def node_message(view: Mapping[str, Any]) -> node_pb2.Node:
    """The contract's view of a node as a message. Raises ValueError for a field the message does not have."""
    fields = _present(view)
    fields |= _stamps({name: fields[name] for name in ("heartbeat", "empty_by", "empty_expected") if name in fields})
    return node_pb2.Node(**fields)


def _stamps(times: Mapping[str, str]) -> dict[str, datetime]:
    return {name: datetime.fromisoformat(when) for name, when in times.items()}


def _attempt(view: Mapping[str, Any]) -> dict[str, Any]:
    fields = _present(view)
    return fields | _stamps({name: fields[name] for name in ("admitted", "started", "finished") if name in fields})


def _present(value: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is None, at every depth: on the wire, absent says so."""
    return {
        name: _present(inner) if isinstance(inner, Mapping) else inner
        for name, inner in value.items()
        if inner is not None
    }
