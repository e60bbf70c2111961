"""What a killed Redis leaves in its directory: half-written files that it never looks at again."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

#: temp-<pid>.rdb, temp-rewriteaof-<pid>.aof and temp-rewriteaof-bg-<pid>.aof, as the server names them
_TEMPORARY = re.compile(r"temp-(?:rewriteaof-(?:bg-)?)?(\d+)\.(?:rdb|aof)")


def remove_leftovers(folder: Path) -> list[str]:
    """Remove those whose writer is dead, before the server starts; their names. Does not raise."""
    gone = []
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            named = _TEMPORARY.fullmatch(path.name)
            if named and not _writes(int(named[1])):
                path.unlink(missing_ok=True)
                gone.append(path.name)
    return gone


def _writes(pid: int) -> bool:
    """Whether a Redis has this number: a killed server's child may still be at it."""
    try:
        program = Path(f"/proc/{pid}/comm").read_text("utf-8", errors="replace")
    except OSError:
        return False
    return "redis" in program or "valkey" in program
