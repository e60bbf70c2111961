"""Whether the node's own file system has room left: a job must not pay for it when it has none."""

from __future__ import annotations

import os
from pathlib import Path

from hivemind_worker.domain.resources import MIB

#: bytes and files that an attempt needs at the very least to begin; with less, every write is about to fail
LEAST_BYTES, LEAST_FILES = 4 * MIB, 64


def no_room(folder: Path) -> str:
    """Why nothing more can be written there, as a sentence; empty when it can."""
    try:
        told = os.statvfs(folder)
    except OSError as error:
        return f"its directory {folder} is not to be had: {error.strerror}"
    if told.f_bavail * told.f_frsize < LEAST_BYTES:
        return f"its disk is full: {folder} has {told.f_bavail * told.f_frsize} bytes left"
    if told.f_files and told.f_favail < LEAST_FILES:
        return f"its disk is full: {folder} has room for {told.f_favail} more files"
    return ""
