"""What the kernel's files say about a container's use: where they lie, and how each is read. cgroup v1 and v2. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Reading:
    """What a container used up to one moment: seconds and bytes; `oom_kills` counts processes killed at the cap."""

    cpu_seconds: float = 0.0
    memory_peak: int = 0
    block_read: int = 0
    block_write: int = 0
    network_received: int = 0
    network_sent: int = 0
    oom_kills: int = 0

    def joined(self, later: Reading) -> Reading:
        """The larger of each: counters only grow, and a reading that missed a file says 0."""
        names = self.__dataclass_fields__
        return Reading(**{name: max(getattr(self, name), getattr(later, name)) for name in names})


@dataclass(frozen=True, slots=True)
class Source:
    """One kernel file and the parser that makes a (partial) reading of it."""

    path: Path
    kind: str


#: v1: the controller that owns the file, the file, how it is read; of two with the same kind the first that exists
V1 = (
    ("cpuacct", "cpuacct.usage", "cpu_ns"),
    ("memory", "memory.max_usage_in_bytes", "memory"),
    ("memory", "memory.oom_control", "oom"),
    ("blkio", "blkio.throttle.io_service_bytes_recursive", "blkio"),
    ("blkio", "blkio.throttle.io_service_bytes", "blkio"),
)
V2 = (
    ("", "cpu.stat", "cpu_stat"),
    ("", "memory.peak", "memory"),  # Linux 5.19
    ("", "memory.current", "memory"),
    ("", "memory.events", "oom"),
    ("", "io.stat", "io_stat"),
)


def is_v2(root: Path) -> bool:
    """Whether the unified hierarchy is the one in use."""
    return (root / "cgroup.controllers").exists()


def sources(root: Path, container: str, proc_cgroup: str = "") -> tuple[Source, ...]:
    """The files of one container that exist, by its id or else by /proc/<pid>/cgroup of a process in it."""
    v2 = is_v2(root)
    paths = parse_proc_cgroup(proc_cgroup)
    found: dict[str, Source] = {}
    directories: dict[str, Path | None] = {}
    for controller, name, kind in V2 if v2 else V1:
        if controller not in directories:
            directories[controller] = _directory(root / controller, container, paths.get(controller, ""))
        directory = directories[controller]
        if kind not in found and directory is not None and (directory / name).exists():
            found[kind] = Source(directory / name, kind)
    return tuple(found.values())


def process_list(root: Path, container: str, proc_cgroup: str = "") -> Path | None:
    """The file that names the container's processes."""
    controller = "" if is_v2(root) else "memory"
    path = parse_proc_cgroup(proc_cgroup).get(controller, "")
    directory = _directory(root / controller, container, path)
    return None if directory is None else directory / "cgroup.procs"


def _directory(mount: Path, container: str, path: str) -> Path | None:
    """Where Docker's cgroupfs and systemd drivers put a container, else where its process says it is."""
    places = [f"docker/{container}", f"system.slice/docker-{container}.scope"]
    if container in path and ".." not in path:
        places.append(path.lstrip("/"))
    for place in places:
        directory: Path = mount / place
        if directory.is_dir():
            return directory
    return None


def parse_proc_cgroup(text: str) -> dict[str, str]:
    """/proc/<pid>/cgroup → path per controller; '' is the unified hierarchy's."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def parse(kind: str, text: str) -> Reading:
    """The content of one source → what it tells. Raises ValueError for what is no such file."""
    if kind == "cpu_ns":
        return Reading(cpu_seconds=int(text) / 1e9)
    if kind == "cpu_stat":
        return Reading(cpu_seconds=_flat(text).get("usage_usec", 0) / 1e6)
    if kind == "memory":
        return Reading(memory_peak=int(text))
    if kind == "oom":
        return Reading(oom_kills=_flat(text).get("oom_kill", 0))
    if kind == "blkio":
        return _blkio(text)
    if kind == "io_stat":
        return _io_stat(text)
    if kind == "network":
        return _network(text)
    raise ValueError(f"unknown kind of source {kind!r}")


def _flat(text: str) -> dict[str, int]:
    """Lines of 'name value'."""
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _blkio(text: str) -> Reading:
    """Lines of '8:0 Read 4096'; the last is a total of all."""
    read = write = 0
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] == "Read":
            read += int(words[2])
        elif len(words) == 3 and words[1] == "Write":
            write += int(words[2])
    return Reading(block_read=read, block_write=write)


def _io_stat(text: str) -> Reading:
    """Lines of '8:0 rbytes=4096 wbytes=0 rios=1 …'."""
    totals = {"rbytes": 0, "wbytes": 0}
    for line in text.splitlines():
        for word in line.split()[1:]:
            name, _, value = word.partition("=")
            if name in totals and value.isdigit():
                totals[name] += int(value)
    return Reading(block_read=totals["rbytes"], block_write=totals["wbytes"])


def _network(text: str) -> Reading:
    """/proc/<pid>/net/dev: 'eth0: <received bytes> … <sent bytes> …'; a job's talk with itself does not count."""
    received = sent = 0
    for line in text.splitlines():
        name, colon, counters = line.partition(":")
        numbers = counters.split()
        if colon and name.strip() != "lo" and len(numbers) >= 9:
            received += int(numbers[0])
            sent += int(numbers[8])
    return Reading(network_received=received, network_sent=sent)


def is_init(status: str) -> bool:
    """Whether /proc/<pid>/status is that of a process that is number 1 inside its container."""
    for line in status.splitlines():
        if line.startswith("NSpid:"):
            numbers = line.split()[1:]
            return len(numbers) > 1 and numbers[-1] == "1"
    return False
