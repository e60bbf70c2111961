"""What each owner has held, summed over time: whose turn it is depends on it where owners have shares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite

#: parts of what the site lends: cores, memory, disk, devices
Parts = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Account:
    """One owner's use: of each resource, seconds of all that the site lends. It decays as admission/shares.py says."""

    seconds: Parts
    #: when it last held anything, epoch ms
    last: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Every owner's account as of one moment, epoch ms; 0: nothing is known."""

    at: int = 0
    owners: Mapping[str, Account] = field(default_factory=dict)


def write_usage(usage: Usage) -> str:
    """The accounts as one text; '' for none."""
    if not usage.at:
        return ""
    owners = {owner: [*(round(part, 3) for part in each.seconds), each.last] for owner, each in usage.owners.items()}
    return json.dumps({"at": usage.at, "owners": owners}, separators=(",", ":"))


def read_usage(stored: bytes) -> Usage:
    """What `write_usage` wrote. Raises ValueError, TypeError, KeyError or AttributeError for what it did not."""
    found = json.loads(stored)
    owners = {}
    for owner, (*seconds, last) in found["owners"].items():
        cores, memory, disk, devices = (float(part) for part in seconds)
        if not all(isfinite(part) and part >= 0 for part in (cores, memory, disk, devices)):
            raise ValueError(f"the account of {owner!r} is {seconds}")
        owners[owner] = Account((cores, memory, disk, devices), int(last))
    return Usage(int(found["at"]), owners)
