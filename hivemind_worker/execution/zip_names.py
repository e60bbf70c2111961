"""Which names a bundle's entries may have. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

#: Linux: NAME_MAX of every usual file system
MAX_PART_BYTES = 255
#: Linux: PATH_MAX is 4096; the node's own directories stand in front
MAX_PATH_BYTES = 3840
#: deeper than any source tree, and shallow enough for every tool
MAX_DEPTH = 100
#: this directory of a workspace is the node's
RESERVED = ".hivemind"

_DRIVE = re.compile(r"[A-Za-z]:")


def decode_name(raw: bytes, is_utf8: bool) -> str:
    """The name as text. Tools that forget the UTF-8 flag are common; else a zip speaks code page 437.

    Raises ValueError with the rule that was broken.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        if is_utf8:
            raise ValueError("its name claims to be UTF-8 and is not") from None
        return raw.decode("cp437")


def split_name(name: str) -> tuple[str, ...]:
    """'./a//b/' → ('a', 'b'); () is the root itself. Raises ValueError with the rule that was broken."""
    if not name:
        raise ValueError("it has no name")
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise ValueError("its name holds a control character")
    if "\\" in name:
        raise ValueError("its name holds a backslash; directories are separated by /")
    if name.startswith("/"):
        raise ValueError("its path is absolute")
    if _DRIVE.match(name):
        raise ValueError("its path starts with a drive letter")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise ValueError("its path leaves the bundle by '..'")
    if any(len(part.encode()) > MAX_PART_BYTES for part in parts):
        raise ValueError(f"a part of its name is longer than {MAX_PART_BYTES} bytes")
    if len("/".join(parts).encode()) > MAX_PATH_BYTES:
        raise ValueError(f"its path is longer than {MAX_PATH_BYTES} bytes")
    if len(parts) > MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} directories")
    if parts and parts[0] == RESERVED:
        raise ValueError(f"{RESERVED}/ is the node's own directory")
    return parts


def find_conflict(files: Iterable[tuple[str, ...]], directories: Iterable[tuple[str, ...]]) -> str | None:
    """The first path that is there twice, or is both a file and a directory; None when all is well.

    Names that differ only in case are different files on Linux, and so they are here.
    """
    seen: set[tuple[str, ...]] = set()
    for path in files:
        if path in seen:
            return "/".join(path)
        seen.add(path)
    folders = set(directories) | {path[:end] for path in seen for end in range(1, len(path))}
    both = sorted(folders & seen)
    return "/".join(both[0]) if both else None
