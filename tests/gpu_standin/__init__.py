"""A machine with GPUs that is none: builds the stand-in for NVIDIA's library and describes devices to it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).parent / "nvml.c"
NAME = "libnvidia-ml.so.1"
GIB = 1024**3


def build(folder: Path) -> Path:
    """Compile it into `folder`, whose path $LD_LIBRARY_PATH may name; the library."""
    library = folder / NAME
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", f"-Wl,-soname,{NAME}"]
    subprocess.run(["gcc", *options, "-o", str(library), str(SOURCE)], check=True)
    return library


@dataclass
class Machine:
    """The devices as the library tells of them; `write` makes a change be seen."""

    path: Path
    #: NVML's error that every call returns; 0: the driver answers
    driver: int = 0
    gpus: list[dict[str, object]] = field(default_factory=list)
    instances: list[tuple[int, str, int, int]] = field(default_factory=list)
    processes: list[tuple[str, str, int, int]] = field(default_factory=list)

    def add(self, uuid: str, gib: int = 16, reserved: int = 0, name: str = "Standin_A1", **keys: int) -> Machine:
        """A device; keys as nvml.c lists them."""
        self.gpus.append({"uuid": uuid, "name": name, "total": gib * GIB, "reserved": reserved, **keys})
        return self.write()

    def divide(self, index: int, uuid: str, gib: int) -> Machine:
        """An instance of the device with that index."""
        self.instances.append((index, uuid, gib * GIB, 0))
        return self.write()

    def change(self, uuid: str, **keys: int) -> Machine:
        """Something happens to a device."""
        next(gpu for gpu in self.gpus if gpu["uuid"] == uuid).update(keys)
        return self.write()

    def run(self, uuid: str, pid: int, size: int, kind: str = "proc") -> Machine:
        """A process holds so many bytes; -1: the driver does not tell."""
        self.processes.append((kind, uuid, pid, size))
        return self.write()

    def write(self) -> Machine:
        """Put the description where the library reads it, whole or not at all."""
        lines = [f"driver {self.driver}"]
        for gpu in self.gpus:
            rest = " ".join(f"{key}={value}" for key, value in list(gpu.items())[4:])
            lines.append(f"gpu {gpu['uuid']} {gpu['name']} {gpu['total']} {gpu['reserved']} {rest}")
        lines += [f"mig {index} {uuid} {total} {reserved}" for index, uuid, total, reserved in self.instances]
        lines += [f"{kind} {uuid} {pid} {size}" for kind, uuid, pid, size in self.processes]
        draft = self.path.with_suffix(".new")
        draft.write_text("\n".join(lines) + "\n")
        draft.replace(self.path)
        return self
