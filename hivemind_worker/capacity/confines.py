"""What confines this process, and so what the node may lend: quotas and limits of its cgroups, v1 and v2, nested.

A node that itself runs in a container sees the whole machine in /proc/cpuinfo and /proc/meminfo. What it may use is in
its cgroup and in each one above, as far as they can be seen from here; the tightest counts. Its cpuset needs no
reading: the kernel keeps the process's affinity inside it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

#: v1 says "no limit" with the largest multiple of a page; anything near it means the same
_UNLIMITED = 1 << 60
_N = TypeVar("_N", int, float)
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Confines:
    """Cores, bytes, processes. None: not confined."""

    cores: float | None = None
    memory: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True)
class Mount:
    """One mounted hierarchy: what of it is mounted where, and its controllers ('' is the unified one)."""

    root: str
    point: str
    controllers: frozenset[str]


def read_confines(proc: Path = Path("/proc/self"), under: Path = Path("/")) -> Confines:
    """This process's confines; what cannot be read does not confine. `under` is put before every mount point."""
    mounts = parse_mounts(_text(proc / "mountinfo"))
    paths = parse_paths(_text(proc / "cgroup"))
    levels = {name: tuple(_levels(name, mounts, paths, under)) for name in ("", "cpu", "memory", "pids")}
    cores = [*map(_cores_v2, levels[""]), *map(_cores_v1, levels["cpu"])]
    memory = [_number(d / "memory.max") for d in levels[""]]
    memory += [_number(d / "memory.limit_in_bytes") for d in levels["memory"]]
    pids = [_number(d / "pids.max") for d in (*levels[""], *levels["pids"])]
    return Confines(_tightest(cores), _tightest(memory), _tightest(pids))


def cores_here(confines: Confines) -> float:
    """Cores that this process may use: those it may be scheduled on, less where a quota says less."""
    allowed = float(len(os.sched_getaffinity(0)))
    return allowed if confines.cores is None else min(allowed, confines.cores)


def parse_mounts(mountinfo: str) -> tuple[Mount, ...]:
    """The cgroup mounts of /proc/<pid>/mountinfo (proc(5))."""
    found = []
    for line in mountinfo.splitlines():
        left, dash, right = line.partition(" - ")
        place, kind = left.split(), right.split()
        if not dash or len(place) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        controllers = frozenset({""}) if kind[0] == "cgroup2" else frozenset(kind[2].split(","))
        found.append(Mount(_plain(place[3]), _plain(place[4]), controllers))
    return tuple(found)


def parse_paths(cgroup: str) -> dict[str, str]:
    """/proc/<pid>/cgroup → path per controller; '' is the unified hierarchy's."""
    paths: dict[str, str] = {}
    for line in cgroup.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            paths |= dict.fromkeys(parts[1].split(","), parts[2])
    return paths


def _levels(controller: str, mounts: tuple[Mount, ...], paths: dict[str, str], under: Path) -> Iterator[Path]:
    """The directories from the process's cgroup up to the top of what is mounted."""
    mount = next((each for each in mounts if controller in each.controllers), None)
    path = paths.get(controller)
    if mount is None or path is None:
        return
    inside = path.strip("/").split("/") if mount.root == "/" else path.removeprefix(mount.root).strip("/").split("/")
    if mount.root != "/" and path != mount.root and not path.startswith(mount.root + "/"):
        inside = []  # what is mounted is another part of the tree: of our own, only its top can be seen
    steps = [step for step in inside if step]
    if ".." in steps:
        steps = []
    point = under / mount.point.lstrip("/")
    for depth in range(len(steps), -1, -1):
        yield point.joinpath(*steps[:depth])


def _cores_v2(directory: Path) -> float | None:
    words = _text(directory / "cpu.max").split()
    if len(words) != 2 or not (words[0].isdigit() and words[1].isdigit()) or int(words[1]) == 0:
        return None  # 'max': no quota
    return int(words[0]) / int(words[1])


def _cores_v1(directory: Path) -> float | None:
    quota, period = _number(directory / "cpu.cfs_quota_us"), _number(directory / "cpu.cfs_period_us")
    return quota / period if quota and period else None


def _number(path: Path) -> int | None:
    """A file's number; None: there is none, or it stands for no limit ('max', -1, the largest there is)."""
    text = _text(path).strip()
    return int(text) if text.isdigit() and int(text) < _UNLIMITED else None


def _tightest(limits: list[_N | None]) -> _N | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _plain(path: str) -> str:
    """Without mountinfo's octal escapes of blanks."""
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), path)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
