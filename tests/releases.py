"""Releases of this tree, built and installed for a test: what a person gets who upgrades, without a network."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.processes import REPOSITORY

_PARTS = ("hivemind_worker", "bridge", "hivemind_cli", "pyproject.toml", "README.md", "LICENSE")


def install_release(version: str, folder: Path) -> Path:
    """Build a wheel of this tree as `version` and install it into an environment of its own; its `hivemind`.

    The dependencies are those of the interpreter that runs the tests.
    """
    tree, wheels, env = folder / "tree", folder / "wheels", folder / "env"
    for part in _PARTS:
        source = REPOSITORY / part
        if source.is_dir():
            shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / part)
    told = tree / "hivemind_worker" / "version.py"
    told.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{version}"', told.read_text("utf-8")), "utf-8")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    _run(*pip, "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", wheels, tree)
    _run(sys.executable, "-m", "venv", "--without-pip", env)
    (wheel,) = wheels.iterdir()
    _run(*pip, "--python", env / "bin" / "python", "install", "--no-deps", "--no-index", "--no-compile", wheel)
    inside = sysconfig.get_path("purelib", vars={"base": str(env), "platbase": str(env)})
    Path(inside, "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n", "utf-8")
    return env / "bin" / "hivemind"


def _run(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
