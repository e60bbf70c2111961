"""Task ids for people who give none: unique, and sorted as they were made."""

from __future__ import annotations

import secrets
import time

#: Crockford's base 32 in lower case: no letter that looks like a digit, and in the order of its values
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def _encode(value: int, length: int) -> str:
    digits = []
    for _ in range(length):
        value, rest = divmod(value, 32)
        digits.append(ALPHABET[rest])
    return "".join(reversed(digits))


def new_id(now_ms: int | None = None) -> str:
    """Eighteen characters: the millisecond in ten (until the year 10889), forty random bits in eight."""
    moment = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return _encode(moment, 10) + _encode(secrets.randbits(40), 8)
