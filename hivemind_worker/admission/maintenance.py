"""What an operator changes about a node while it runs: caps and cordons. Checked here, whoever asks."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from hivemind_worker.domain.errors import InvalidField
from hivemind_worker.domain.node import find_gpus
from hivemind_worker.domain.resources import MAX_BYTES, MAX_CPU, MIN_MEMORY
from hivemind_worker.store.ledger import Ledger

#: what the outside calls a cap → (its name in NodeCaps, units of the record in one of it, least, most)
CAPS: dict[str, tuple[str, int, float, float]] = {
    "max_cpu": ("millicores", 1000, 0, MAX_CPU),
    "max_memory": ("memory", 1, 0, MAX_BYTES),
    "max_gpus": ("gpus", 1, 0, 1024),
    "max_tasks": ("slots", 1, 0, 1024),
}


def set_caps(ledger: Ledger, node: str, caps: Mapping[str, Any], clear: Collection[str] = ()) -> None:
    """Set some caps and take some away. A lower cap ends nothing. Raises InvalidField, NotFound, StoreUnavailable."""
    changes: dict[str, int | None] = {}
    for name in (*caps, *clear):
        if name not in CAPS:
            raise InvalidField(name, f"is no cap; there are {', '.join(CAPS)}")
    for name, value in caps.items():
        changes[CAPS[name][0]] = _checked(name, value)
    for name in clear:
        if name in caps:
            raise InvalidField(name, "is to be set and taken away; do one of them")
        changes[CAPS[name][0]] = None
    if not changes:
        raise InvalidField("caps", f"name at least one of {', '.join(CAPS)}")
    ledger.set_caps(node, changes)


def cordon(ledger: Ledger, node: str, gpu: str, *, on: bool) -> None:
    """Keep new jobs off a device, or let them on again. Raises InvalidField, NotFound, StoreUnavailable."""
    if not gpu or len(gpu) > 96 or not gpu.isprintable():
        raise InvalidField("gpu", "is not a device's UUID or number")
    ledger.cordon(node, find_gpus(ledger.node(node), gpu), on=on)


def _checked(name: str, value: Any) -> int:
    """A cap as the record holds it."""
    _, unit, least, most = CAPS[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidField(name, "must be a finite number")
    if not least <= value <= most:
        raise InvalidField(name, f"must be between {least:g} and {most:g}, not {value:g}")
    if unit == 1 and value != int(value):
        raise InvalidField(name, f"must be a whole number, not {value:g}")
    if name == "max_memory" and 0 < value < MIN_MEMORY:
        raise InvalidField(
            name, f"is in bytes; {value:g} of them hold no job (the least is {MIN_MEMORY}); 0 admits none"
        )
    return round(value * unit)
