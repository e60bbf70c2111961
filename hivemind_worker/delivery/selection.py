"""Which files of a workspace go into its artifact: new or changed, regular, within the caps. The rest is named."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from zipfile import ZipFile

from hivemind_worker.delivery.artifact_names import place, spell
from hivemind_worker.delivery.artifact_report import ArtifactLimits, ArtifactReport
from hivemind_worker.delivery.zip_entries import READ, add_file
from hivemind_worker.domain.files import Baseline, FileStamp
from hivemind_worker.domain.resources import format_size
from hivemind_worker.trees import Found, TreeChanged, Walk

#: the node's own directory inside a workspace; the same name that bundles may not use
NOT_THE_JOBS = frozenset({".hivemind"})
#: so many names of what was left out are told; the rest is counted
MAX_TOLD = 100
#: a path beyond this unpacks on no usual system
MAX_NAME_BYTES = 4096
MAX_DEPTH = 100


class Selection:
    """One pass over a workspace: what goes in, what is left out and why."""

    def __init__(self, baseline: Baseline, limits: ArtifactLimits, none_because: str = "") -> None:
        """`none_because`: why nothing goes in at all; then everything is only named."""
        self._baseline = baseline
        self._limits = limits
        self._none_because = none_because
        self._bytes_left = limits.max_bytes
        self._entries = 0
        self._skipped: list[tuple[str, str]] = []
        self._left_out = 0
        self._over = ""

    def report(self, path: Path, size: int) -> ArtifactReport:
        """What came of it so far."""
        return ArtifactReport(path, self._entries, size, tuple(self._skipped), self._left_out, self._over)

    def collect(self, work: Path, archive: ZipFile) -> None:
        """Add every new or changed regular file below `work`."""
        walk = Walk(
            work,
            # beyond this the entry cap is passed many times over: nobody needs the exact count
            most=10 * self._limits.max_entries + len(self._baseline),
            max_depth=MAX_DEPTH,
            ordered=True,
            unlock=True,
            skip=NOT_THE_JOBS,
        )
        try:
            for found in walk:
                self._visit(found, work, archive)
        except TreeChanged as error:
            self._leave_out("…", f"{error}; what follows was not looked at")
        if walk.cut:
            self._leave_out("…", "there are more files than are looked at")
            self._over = self._over or self._too_many("what follows")

    def _visit(self, found: Found, work: Path, archive: ZipFile) -> None:
        path = found.path
        name = spell(path)
        if found.is_dir:
            if found.error is not None:
                self._leave_out(name, found.error.strerror or str(found.error))
            return
        try:
            status = found.status()
            if why := _not_a_file(status):
                self._leave_out(name, why)
            elif self._is_new(path, status) and self._has_room(name, status):
                self._add(found, name, work, archive)
        except FileNotFoundError:
            self._leave_out(name, "vanished while the artifact was collected")

    def _is_new(self, path: str, status: os.stat_result) -> bool:
        return self._baseline.get(path) != FileStamp.of(status)

    def _has_room(self, name: str, status: os.stat_result) -> bool:
        """Whether the caps allow one more file of this size. A sparse file counts as long as it reads."""
        if self._none_because:
            self._leave_out(name, self._none_because)
            self._over = self._over or f"{self._none_because}: no file of the job is in the artifact"
            return False
        if len(name.encode()) > MAX_NAME_BYTES:
            self._leave_out(name, f"its path is longer than {MAX_NAME_BYTES} bytes")
            return False
        if self._entries >= self._limits.max_entries:
            self._leave_out(name, f"is beyond the cap of {self._limits.max_entries} files")
            self._over = self._over or self._too_many(repr(name[:80]))
            return False
        if status.st_size > self._bytes_left:
            size, cap = format_size(status.st_size), format_size(self._limits.max_bytes)
            self._leave_out(name, f"is {size}, too large for the cap of {cap}")
            self._over = self._over or (
                f"the artifact is over its cap of {cap} (HIVEMIND_MAX_ARTIFACT_BYTES): "
                f"{name[:80]!r} with {size} is left out"
            )
            return False
        return True

    def _add(self, found: Found, name: str, work: Path, archive: ZipFile) -> None:
        try:
            descriptor = os.open(found.name, READ, dir_fd=found.directory)
        except FileNotFoundError:
            raise
        except OSError as error:  # swapped for a link (ELOOP), unreadable, a socket
            self._leave_out(name, error.strerror or str(error))
            return
        try:
            status = os.fstat(descriptor)  # of what was opened, which nobody can swap any more
            if why := _not_a_file(status):
                self._leave_out(name, why)
            elif self._has_room(name, status):
                inside = place(name, lambda other: os.path.lexists(work / other))
                written = add_file(archive, inside, descriptor, status)
                self._entries += 1
                self._bytes_left -= written
                if written < status.st_size:
                    self._tell(name, f"is cut: it shrank from {status.st_size} to {written} bytes while it was read")
        finally:
            os.close(descriptor)

    def _too_many(self, first: str) -> str:
        return (
            f"the artifact is over its cap of {self._limits.max_entries} files "
            f"(HIVEMIND_MAX_ARTIFACT_ENTRIES): {first} and more are left out"
        )

    def _leave_out(self, name: str, why: str) -> None:
        self._left_out += 1
        self._tell(name, why)

    def _tell(self, name: str, why: str) -> None:
        if len(self._skipped) < MAX_TOLD:
            self._skipped.append((name[:MAX_NAME_BYTES], why))


_KINDS = {
    stat.S_IFLNK: "is a symbolic link",
    stat.S_IFCHR: "is a character device",
    stat.S_IFBLK: "is a block device",
    stat.S_IFIFO: "is a FIFO",
    stat.S_IFSOCK: "is a socket",
}


def _not_a_file(status: os.stat_result) -> str | None:
    """What it is instead of a regular file; None for a regular file."""
    if stat.S_ISREG(status.st_mode):
        return None
    return _KINDS.get(stat.S_IFMT(status.st_mode), "is not a regular file")
