"""Numbers in the wrong unit or kind, as people and programs send them: refused with what would be right. Pure."""

from __future__ import annotations

import math
import re
from typing import Any

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB
SIZE_UNITS = {"": 1, "K": KIB, "M": MIB, "G": GIB, "T": TIB}

_SIZE = re.compile(r"^(\d+(?:\.\d+)?)\s*([KMGT]?)I?B?$")
_MILLICORES = re.compile(r"^(\d+)m$")


def bytes_of(text: str) -> float | None:
    """'256M' → bytes; None: it is no size."""
    match = _SIZE.match(text.strip().upper())
    return float(match[1]) * SIZE_UNITS[match[2]] if match else None


def parse_cores(text: str) -> float:
    """'0.5' → cores. What is no finite number passes: who takes the request says so. Raises ValueError."""
    try:
        return float(text)
    except ValueError:
        match = _MILLICORES.match(text.strip())
        right = f"{int(match[1]) / 1000:g}" if match else "one, as in 0.5"
        raise ValueError(f"{text[:40]!r} is not a number of cores; write {right}") from None


def check_cores(value: Any) -> Any:
    """A number of cores as sent; what is none is refused with a remedy. Raises ValueError."""
    if isinstance(value, str):
        match = _MILLICORES.match(value.strip())
        right = f"{int(match[1]) / 1000:g}" if match else "0.5"
        raise ValueError(f"{value[:40]!r} is text; give a number of cores, as in {right}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number of cores, as in 0.5")
    if not math.isfinite(value):
        raise ValueError("must be a finite number of cores, as in 0.5")
    return value


def check_bytes(value: Any) -> Any:
    """A number of bytes as sent. Raises ValueError."""
    if isinstance(value, str):
        size = bytes_of(value)
        right = f"{int(size)}" if size is not None and size < 1 << 60 else "268435456 for 256M"
        raise ValueError(f"{value[:40]!r} is text; give a number of bytes, as in {right}")
    return check_whole(value, "bytes")


def check_whole(value: Any, what: str = "") -> Any:
    """A whole number as sent. Raises ValueError."""
    of_what = f" of {what}" if what else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a whole number{of_what}")
    if not math.isfinite(value) or value != int(value):
        raise ValueError(f"must be a whole number{of_what}, not {value:g}")
    return int(value)


def mistaken_unit(value: int, least: int, most: int) -> str:
    """'; 256 megabytes are 268435456' when a number makes sense in a larger unit; else ''."""
    for name, unit in (("megabytes", MIB), ("gigabytes", GIB)):
        if 0 < value < least <= value * unit <= most:
            return f"; {value} {name} are {value * unit}"
    return ""
