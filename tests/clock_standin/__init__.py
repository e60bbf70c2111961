"""A process whose clock is off: builds the library that shifts the time of day it is told."""

from __future__ import annotations

import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "clock.c"


def off_by(seconds: int, folder: Path) -> dict[str, str]:
    """Compile it into `folder`; the environment of a process whose clock is that far ahead."""
    library = folder / "clock.so"
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *options, "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(seconds)}
