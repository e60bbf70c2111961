"""The reader of confines where it matters: inside a real container with quotas, on this machine's kind of cgroup."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import hivemind_worker

IMAGE = "localhost/hivemind-base:latest"
#: needs nothing but the standard library, so the image's own python can run it
READ = (
    "import sys, json, importlib.util as u; s = u.spec_from_file_location('confines', '/code/confines.py');"
    "m = u.module_from_spec(s); sys.modules['confines'] = m; s.loader.exec_module(m);"
    "c = m.read_confines(); print(json.dumps([m.cores_here(c), c.memory, c.pids]))"
)


def read(*options: str) -> list[float | None]:
    code = Path(hivemind_worker.__file__).parent / "capacity"
    command = ["docker", "run", "--rm", "--network=none", f"--volume={code}:/code:ro", *options, IMAGE]
    said = subprocess.run([*command, "python3", "-c", READ], capture_output=True, text=True, check=True)
    found: list[float | None] = json.loads(said.stdout)
    return found


def test_a_node_in_a_container_lends_what_the_container_may_use() -> None:
    assert read("--cpus=0.5", "--memory=200m", "--pids-limit=77") == [0.5, 200 * 1024**2, 77]


def test_a_cpuset_is_honoured_and_no_limit_is_none() -> None:
    cores, _, pids = read("--cpuset-cpus=0")
    assert cores == 1.0
    assert pids is None or pids > 77
