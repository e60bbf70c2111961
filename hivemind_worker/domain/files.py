"""What tells one version of a file from another: a stamp per path, and the baseline made of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class FileStamp:
    """One version of one file. Times in ns. A program can set mtime back after a change, never ctime."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """The stamp of a file whose status was read."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    @classmethod
    def parse(cls, values: Any) -> Self:
        """The inverse of `values`."""
        size, mtime_ns, ctime_ns, inode = (int(value) for value in values)
        return cls(size, mtime_ns, ctime_ns, inode)

    @property
    def values(self) -> list[int]:
        """Plain numbers, for a JSON document."""
        return [self.size, self.mtime_ns, self.ctime_ns, self.inode]


#: what lay in a workspace before its job started: path relative to the workspace → stamp
Baseline = Mapping[str, FileStamp]
