"""How a job's files are called inside its artifact. Pure."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable

LOG_NAME = "execution_log.txt"
OUTCOME_NAME = "outcome.json"
#: names at the artifact's root that are the node's
OURS = frozenset({LOG_NAME, OUTCOME_NAME})

_SPELLED = re.compile("%[0-9A-F]{2}")


def spell(name: str) -> str:
    """A path as Linux gives it → text that every zip tool can carry. `unspell` is its inverse.

    Bytes that are not UTF-8, control characters and backslashes become %XX. So does a % that would otherwise read
    as such a spelling; every other name stays as it is.
    """
    return "".join(_percent(character) if _unsafe(name, at) else character for at, character in enumerate(name))


def unspell(text: str) -> str:
    """The path whose spelling this is."""
    raw = b""
    at = 0
    for match in _SPELLED.finditer(text):
        raw += text[at : match.start()].encode() + bytes([int(match[0][1:], 16)])
        at = match.end()
    return os.fsdecode(raw + text[at:].encode())


def _unsafe(name: str, at: int) -> bool:
    character = name[at]
    if character == "%":
        return _SPELLED.match(name, at) is not None
    return character == "\\" or unicodedata.category(character) in ("Cc", "Cs")


def _percent(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in os.fsencode(character))


def place(name: str, taken: Callable[[str], bool]) -> str:
    """Where a job's file goes: its own path, except where that is one of ours at the root.

    Then 'job.' is put in front, as often as it takes to meet no other file of the job: outcome.json → job.outcome.json.
    """
    if name not in OURS:
        return name
    moved = f"job.{name}"
    while taken(moved):
        moved = f"job.{moved}"
    return moved
