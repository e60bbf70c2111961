"""Every name that this state directory's node has had: what an earlier name left on the engine is this node's, too."""

from __future__ import annotations

from pathlib import Path

import structlog

log = structlog.get_logger()

#: a line for each; only ever added to
_FILE = "node-names"


def note_name(state: Path, node: str) -> None:
    """Remember a name, before anything is made under it. A disk that does not take it is told of, and keeps nobody."""
    if node in noted_names(state):
        return
    try:
        with (state / _FILE).open("a", encoding="utf-8") as file:
            file.write(f"{node}\n")
    except OSError as error:
        log.warning("name of the node not noted", node=node, why=str(error))


def noted_names(state: Path) -> frozenset[str]:
    """All that were noted; none where the file cannot be read."""
    try:
        return frozenset((state / _FILE).read_text("utf-8", errors="replace").split())
    except OSError:
        return frozenset()
