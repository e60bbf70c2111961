"""A workspace: the directory on the node that one attempt of a job works in."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog

from hivemind_worker.domain.assignment import TASK_ID
from hivemind_worker.domain.errors import HiveMindError, NodeDiskFull
from hivemind_worker.domain.files import FileStamp
from hivemind_worker.execution.since import Moment
from hivemind_worker.trees import DIRECTORY, Walk, disk_usage, remove_tree

__all__ = ["Workspace", "create_workspace", "disk_usage", "list_workspaces", "workspaces_of"]

log = structlog.get_logger()
_FIRST_LINE_BYTES = 256
#: the note of why we ended the container: the name of an empty file
UNENDED, ENDED = "unended", "ended-for-"
#: the log that one pair of hands keeps
LOG = "log-"


def _hand() -> str:
    """A name for what one body makes. A worker that was frozen may wake while another one goes on with its attempt."""
    return uuid4().hex[:8]


@dataclass(frozen=True, slots=True)
class Workspace:
    """`<base>/<task_id>-<attempt>.<hand>/`: `work/` is the job's, the rest is ours.

    Each body prepares one of its own, so that two bodies of an attempt, of which one does not know yet that it was
    fenced off, never write to the same files. The one that the container mounts is the attempt's. Who finds it keeps
    a log of its own there.

    Every method but `remove` may raise OSError; those that write raise NodeDiskFull where the disk is full.
    """

    root: Path
    task_id: str
    attempt: int
    #: whose log is written here by this process
    hand: str = field(default_factory=_hand, compare=False)

    @property
    def work(self) -> Path:
        """What the container sees as /workspace."""
        return self.root / "work"

    @property
    def log(self) -> Path:
        """The kept part of the job's log, as these hands read it."""
        return self.root / f"{LOG}{self.hand}.txt"

    def inherit_log(self) -> None:
        """Where these hands have read nothing, take a copy of what the last ones had. Does not raise."""
        try:
            known = self._logs()
            if known and self.log not in known:
                shutil.copyfile(known[-1], self.log)
        except OSError as error:
            log.warning("log not inherited", job_id=self.task_id, attempt=self.attempt, error=str(error))

    def drop_older_logs(self) -> None:
        """Of what others read here, keep the last: a worker may be killed any number of times. Does not raise."""
        with suppress(OSError):
            for older in self._logs()[:-1]:
                older.unlink(missing_ok=True)

    def _logs(self) -> list[Path]:
        """The newest is the last."""
        return sorted(self.root.glob(f"{LOG}*.txt"), key=lambda path: path.stat().st_mtime_ns)

    @property
    def meta(self) -> Path:
        """What a restarted worker must know of it."""
        return self.root / "meta.json"

    @property
    def ready(self) -> bool:
        """Whether preparing came to its end: the baseline is recorded."""
        return "baseline" in self._read()

    def record_baseline(self) -> None:
        """Note what lies in `work` now; the last step before the container is made."""
        stamps: dict[str, list[int]] = {}
        for found in Walk(self.work):
            if not found.is_dir:
                stamps[found.path] = FileStamp.of(found.status()).values
        self._write({**self._read(), "baseline": stamps})

    def baseline(self) -> dict[str, FileStamp]:
        """What `record_baseline` noted; empty when it never ran."""
        known = self._read().get("baseline", {})
        return {path: FileStamp.parse(values) for path, values in known.items()}

    def root_files(self) -> tuple[str, ...]:
        """Names of the regular files directly in `work`, for `choose_entrypoint`."""
        with os.scandir(self.work) as entries:
            return tuple(sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False)))

    def first_line(self, name: str) -> str:
        """First line of a file directly in `work` (of its first 256 bytes), for `choose_entrypoint`."""
        inside = os.open(self.work, DIRECTORY)
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, dir_fd=inside), "rb") as file:
                line = file.read(_FIRST_LINE_BYTES).partition(b"\n")[0]
        finally:
            os.close(inside)
        return line.decode("utf-8", "replace").rstrip("\r")

    def keep_until(self, when: float) -> None:
        """Ask the janitor to leave it alone until `when` (epoch seconds)."""
        self._write({**self._read(), "keep_until": when})

    @property
    def kept_until(self) -> float | None:
        """Epoch seconds until which it is kept; None: nobody asked."""
        value = self._read().get("keep_until")
        return None if value is None else float(value)

    def note_start(self) -> bool:
        """Note that the engine is now asked to start its container, which it never is twice; False: other hands did."""
        try:
            with self._started.open("x", encoding="ascii") as file:
                json.dump(Moment.now().fields(), file)
        except FileExistsError:
            return False
        except OSError as error:
            self.forget_start()  # a full disk may have taken the file and not what is in it
            raise _named(error) from error
        return True

    def forget_start(self) -> None:
        """The engine was not asked after all. Does not raise."""
        with suppress(OSError):
            self._started.unlink(missing_ok=True)

    @property
    def start_noted(self) -> bool:
        """Whether `note_start` was called, even if what it wrote cannot be read."""
        return self._started.exists()

    @property
    def _started(self) -> Path:
        return self.root / "started.json"

    @property
    def start(self) -> Moment | None:
        """What `note_start` noted; None: nothing that can be read."""
        try:
            return Moment.parse(json.loads(self._started.read_bytes()))
        except (OSError, ValueError):
            return None

    def note_end(self, reason: str) -> None:
        """Note why its container is about to be ended by us; '' takes the note back. Does not raise.

        A file that was made with the workspace gets another name: the disk may be full by then, often for that reason.
        """
        fresh = self.root / (ENDED + reason if reason else UNENDED)
        try:
            known = next((path for path in self._end_notes()), None)
            fresh.touch() if known is None else known.rename(fresh)
        except OSError as error:
            log.warning("reason not noted", job_id=self.task_id, attempt=self.attempt, error=str(error))

    @property
    def ended_for(self) -> str:
        """What `note_end` noted; '': nothing."""
        try:
            return next((path.name.removeprefix(ENDED) for path in self._end_notes() if path.name != UNENDED), "")
        except OSError:
            return ""

    def _end_notes(self) -> list[Path]:
        return [path for path in self.root.iterdir() if path.name == UNENDED or path.name.startswith(ENDED)]

    def remove(self) -> bool:
        """Delete all of it, whatever the job did to it; whether nothing is left. Does not raise."""
        error = remove_tree(self.root)
        if error is not None:
            log.warning("workspace not removed", job_id=self.task_id, attempt=self.attempt, error=str(error))
        return error is None

    def _read(self) -> dict[str, Any]:
        try:
            known = json.loads(self.meta.read_bytes())
        except (FileNotFoundError, ValueError):  # ValueError: power was lost while it was written
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self, content: Mapping[str, Any]) -> None:
        fresh = self.meta.with_suffix(".new")
        try:
            with fresh.open("w", encoding="utf-8") as file:
                json.dump(content, file, separators=(",", ":"))  # ASCII: names that are not UTF-8 survive
            fresh.replace(self.meta)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise _named(error) from error


def create_workspace(
    base: Path, task_id: str, attempt: int, uid: int | None = None, gid: int | None = None
) -> Workspace:
    """Make an empty one of its own; `work` belongs to uid:gid. Raises NodeDiskFull, HiveMindError."""
    hand = _hand()
    workspace = Workspace(base / f"{task_id}-{attempt}.{hand}", task_id, attempt, hand)
    try:
        base.mkdir(mode=0o700, parents=True, exist_ok=True)
        workspace.root.mkdir(mode=0o700)
        workspace.work.mkdir(mode=0o755)
        workspace.work.chmod(0o755)  # whatever the umask says
        _give(workspace.work, uid, gid)
        (workspace.root / UNENDED).touch()
    except BaseException as error:
        remove_tree(workspace.root)
        if isinstance(error, OSError):
            raise _named(error) from error
        raise
    return workspace


def workspaces_of(base: Path, task_id: str, attempt: int) -> list[Workspace]:
    """All that an attempt has: the one that its container mounts, and what dead or fenced bodies of it left."""
    name = f"{task_id}-{attempt}"
    return [one for one in _all(base, name) if (one.task_id, one.attempt) == (task_id, attempt)]


def list_workspaces(base: Path) -> list[Workspace]:
    """All workspaces under `<state>/workspaces`; what else lies there is left out."""
    return _all(base, "")


def _all(base: Path, prefix: str) -> list[Workspace]:
    """By name. Those that a release before this one made have no hand in theirs."""
    found = []
    with suppress(FileNotFoundError):
        for root in sorted(base.iterdir()):
            task_id, _, rest = root.name.rpartition("-")
            attempt = rest.partition(".")[0]
            named = root.name.startswith(prefix) and TASK_ID.fullmatch(task_id)
            if named and attempt.isdecimal() and attempt.isascii() and _is_directory(root):
                found.append(Workspace(root, task_id, int(attempt)))
    return found


def _give(path: Path, uid: int | None, gid: int | None) -> None:
    """Change the owner where it is another; a node without root can run jobs only as itself."""
    status = path.stat()
    if uid in (None, status.st_uid) and gid in (None, status.st_gid):
        return
    try:
        os.chown(path, -1 if uid is None else uid, -1 if gid is None else gid, follow_symlinks=False)
    except PermissionError as error:
        raise HiveMindError(
            f"a worker that is not root cannot give a workspace to uid {uid}: set HIVEMIND_JOB_UID={os.geteuid()}"
        ) from error


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _named(error: OSError) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NodeDiskFull(f"the node's disk is full: {error.filename or 'a workspace'} could not be written")
    return error
