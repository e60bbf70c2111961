"""Where a test finds an attempt's workspace: its name ends with the hand that made it."""

from __future__ import annotations

from pathlib import Path

from hivemind_worker.execution.workspace import Workspace, workspaces_of


def workspace_of(state: Path, task_id: str, attempt: int = 1) -> Workspace:
    """The only one that the attempt has on this node."""
    (found,) = workspaces_of(state / "workspaces", task_id, attempt)
    return found


def kept_log(root: Path) -> bytes:
    """What the last hands that were at the attempt in this workspace kept of its log."""
    return max(root.glob("log-*.txt"), key=lambda path: path.stat().st_mtime_ns).read_bytes()
