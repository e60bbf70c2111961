"""`./dev chaos`: one campaign from a seed, in namespaces of its own. Exit code 0: nothing was violated."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from hivemind_cli.processes import die_with_parent

#: seconds that an interrupted campaign has to end what it started; then the kernel does
GRACE = 60.0


def main() -> int:
    """Start it, wait for it, and take away what a namespace does not."""
    parser = argparse.ArgumentParser(prog="./dev chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long the nemesis strikes (default 3)")
    parser.add_argument("--seed", type=int, default=1, help="what it draws from (default 1)")
    parser.add_argument("--report", type=Path, help="a Markdown file; the same as JSON and the journal lie beside it")
    parser.add_argument("--plant", default="", help="faults for the checker to find, with a comma in between (tests)")
    parser.add_argument("--calm", action="store_true", help="no nemesis: the load alone")
    given = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("it needs root: it mounts, and starts a container engine")
    if given.minutes <= 0:
        parser.error("--minutes must be more than 0")
    root = Path(tempfile.mkdtemp(prefix="hm-c-", dir="/tmp"))
    command = [
        "unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc",
        sys.executable, "-m", "tests.chaos.inside", str(root), "--minutes", f"{given.minutes:g}",
        "--seed", str(given.seed), "--plant", given.plant,
    ]  # fmt: skip
    if given.report:
        command += ["--report", str(given.report.absolute())]
    if given.calm:
        command.append("--calm")
    child = subprocess.Popen(command, preexec_fn=die_with_parent(), start_new_session=True)
    try:
        return _wait(child)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _wait(child: subprocess.Popen[bytes]) -> int:
    """Its exit code. An interruption is passed on to the campaign's first process, once; then it is killed."""

    def interrupted(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupted)
    try:
        return child.wait()
    except KeyboardInterrupt:
        for pid in _children(child.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        try:
            child.wait(GRACE)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            child.kill()  # and with it, by --kill-child, everything in its namespaces
            child.wait()
        return 130


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


if __name__ == "__main__":
    sys.exit(main())
