"""How fast this machine's cores and devices are: measured once for each, by programs of their own, and remembered.

Never in anybody's way: a thread starts the programs after the worker has come up, one at a time, at the lowest
priority; a device only while nobody is on it. What was measured lies in the state directory by the hardware's own name.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from hivemind_worker.capacity.gpu import GpuMonitor

log = structlog.get_logger()

HERE = Path(__file__).parent
#: seconds that one program may take, and between two looks for devices that have no score yet
LONGEST, LOOK = 60.0, 60.0
#: seconds until the monitor has seen who is on the devices
SETTLE = 3.0


class Scores:
    """Scores by hardware id; 0 where there is none yet. `start` once; reading returns at once."""

    def __init__(
        self,
        state: Path,
        gpus: GpuMonitor,
        measure: Callable[[str, Mapping[str, str]], float] | None = None,
        settle: float = SETTLE,
    ) -> None:
        self._path = state / "scores.json"
        self._gpus = gpus
        self._measure = measure or run
        self._settle = settle
        self._cpu_id = cpu_id()
        self._known = _read(self._path)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scores", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask it to end after the program it waits for."""
        self._stopping.set()

    @property
    def cpu(self) -> float:
        """One core's."""
        return self._known.get(self._cpu_id, 0.0)

    def gpu(self, uuid: str) -> float:
        """One device's."""
        return self._known.get(f"gpu:{uuid}", 0.0)

    def _run(self) -> None:
        tried: set[str] = set()
        while True:
            try:
                self.look(tried)
            except Exception:
                log.exception("scores stumbled")
            if self._stopping.wait(LOOK):
                return

    def look(self, tried: set[str]) -> None:
        """Measure what has no score yet and was not tried before."""
        if self._cpu_id not in self._known and self._cpu_id not in tried:
            self._take(self._cpu_id, "bench_cpu.py", {}, tried)
        unknown = [
            gpu for gpu in self._gpus.reading().gpus
            if gpu.usable and f"gpu:{gpu.uuid}" not in self._known and f"gpu:{gpu.uuid}" not in tried
        ]  # fmt: skip
        if not unknown:
            return
        self._gpus.processes()  # asks the monitor to look who is on them
        self._stopping.wait(self._settle)
        for gpu in unknown:
            if any(each.uuid == gpu.uuid for each in self._gpus.processes()):
                continue  # somebody is: another time
            self._take(f"gpu:{gpu.uuid}", "bench_gpu.py", {"CUDA_VISIBLE_DEVICES": gpu.uuid}, tried)

    def _take(self, name: str, program: str, environment: Mapping[str, str], tried: set[str]) -> None:
        tried.add(name)
        try:
            score = self._measure(program, environment)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            log.info("not measured", hardware=name, why=str(error))
            return
        # Another worker of this node may have written meanwhile.
        self._known = _read(self._path) | {name: score}
        draft = self._path.with_name(f"scores.{os.getpid()}.new")
        try:
            draft.write_text(json.dumps(self._known, indent=1), "utf-8")
            draft.replace(self._path)
        except OSError as error:
            log.info("score not kept", hardware=name, why=str(error))
        log.info("measured", hardware=name, score=score)


def run(program: str, environment: Mapping[str, str]) -> float:
    """One program's score. Raises OSError, ValueError, SubprocessError."""
    done = subprocess.run(
        ["nice", "-n", "19", sys.executable, "-I", str(HERE / program)],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
        start_new_session=True,
    )
    if done.returncode:
        raise ValueError(done.stderr.strip()[-200:] or f"exit code {done.returncode}")
    return float(done.stdout)


def cpu_id(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The name of this kind of core and of the Python that measures it."""
    try:
        text = cpuinfo.read_text("utf-8", "replace")
    except OSError:
        text = ""
    lines = [line for line in text.split("\n\n")[0].splitlines() if line.startswith(("model", "CPU", "cpu family"))]
    kind = "\n".join([*lines, sys.version.split()[0]])
    return "cpu:" + hashlib.sha256(kind.encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, float]:
    try:
        found = json.loads(path.read_text("utf-8"))
        return {str(name): float(score) for name, score in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
