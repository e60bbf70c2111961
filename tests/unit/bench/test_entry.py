"""Benchmarks as a shell runs them: no traceback where nothing is wrong with them, progress for a person alone."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.admission import TRACES
from bench.entry import ending, say
from tests.processes import REPOSITORY

LONG = ["--trace", str(TRACES / "lublin-12-modal.swf"), "--procs", "128"]
ENTRIES = pytest.mark.parametrize("entry", [["bench.admission"], ["bench", "admission"]], ids=" ".join)


def small(tmp_path: Path) -> list[str]:
    """Arguments for a trace that is through at once."""
    path = tmp_path / "good.swf"
    path.write_text("1 0 -1 100 4 -1 -1 4 600 -1 1 7 7 9 1 -1 -1 -1\n")
    return ["--trace", str(path), "--procs", "4", "--json"]


def environment() -> dict[str, str]:
    """Ours, with stdout buffered as it is for everyone: errors come late then."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return kept | {"PYTHONPATH": str(REPOSITORY)}


def line_of(*words: str) -> list[str]:
    """A benchmark's command line."""
    return [sys.executable, "-m", *words]


def run(command: Sequence[str], stdout: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment(), stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)


@ENTRIES
@pytest.mark.parametrize("asked", ["a replay", "help"])
def test_a_reader_that_has_left_is_no_error_to_speak_of(tmp_path: Path, entry: list[str], asked: str) -> None:
    left, ours = os.pipe()
    os.close(left)
    try:
        made = run(line_of(*entry, *(small(tmp_path) if asked == "a replay" else ["--help"])), ours)
    finally:
        os.close(ours)
    assert (made.stderr, made.returncode) == ("", 141)


@ENTRIES
def test_a_full_disk_is_said_in_one_line(tmp_path: Path, entry: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        made = run(line_of(*entry, *small(tmp_path)), full.fileno())
    assert (made.stderr, made.returncode) == (f"{entry[0]}: stdout: No space left on device\n", 1)


class Terminal:
    """What a program says on the terminal that it has for stderr."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        self.said = b""
        self.spoken = threading.Event()
        self._thread = threading.Thread(target=self._listen)

    def listen(self) -> None:
        os.close(self.theirs)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # EIO: nobody has the other side open any more
            while part := os.read(self._ours, 4096):
                self.said += part
                if b" jobs, " in self.said:
                    self.spoken.set()

    def all(self) -> str:
        self._thread.join()
        os.close(self._ours)
        return self.said.decode()


def shown(said: str) -> str:
    """What is left to be read of lines that were rewritten in place."""
    return "\n".join(line.rsplit("\r\033[K", 1)[-1] for line in said.replace("\r\n", "\n").split("\n"))


@ENTRIES
def test_a_long_replay_says_how_far_it_is_and_an_interrupted_one_that_it_was(entry: list[str]) -> None:
    terminal = Terminal()
    child = subprocess.Popen(
        line_of(*entry, *LONG), stdout=subprocess.DEVNULL, stderr=terminal.theirs,
        env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    terminal.listen()
    try:
        assert terminal.spoken.wait(60)
        child.send_signal(signal.SIGINT)
        assert child.wait(60) == 130
    finally:
        child.kill()
        child.wait()
        said = terminal.all()
    assert re.search(r"\r\033\[Kours: [\d,]+ of 5,000 jobs, 0:\d\d", said)
    assert shown(said) == f"{entry[0]}: interrupted\n"


@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full"])
def test_without_a_stderr_that_takes_anything_stdout_has_the_document_alone(tmp_path: Path, stderr: str) -> None:
    arguments = small(tmp_path)
    with Path(arguments[1]).open("a") as trace:
        trace.write("2 0 -1 100 8 -1 -1 8 600 -1 1 7 7 9 1 -1 -1 -1\n")  # too large: there is something to remark
    made = run(["sh", "-c", f'"$@" {stderr}', "sh", *line_of("bench.admission", *arguments)], subprocess.PIPE)
    assert made.returncode == 0
    assert set(json.loads(made.stdout)) == {"ours", "fcfs", "easy"}


def test_a_benchmark_of_any_kind_that_is_interrupted_ends_so(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert ending("bench.live", interrupted) == 130
    assert capsys.readouterr().err == "bench.live: interrupted\n"


def test_what_went_wrong_elsewhere_is_not_taken_for_stdouts(capsys: pytest.CaptureFixture[str]) -> None:
    def engine_gone() -> int:
        say("a table")
        raise BrokenPipeError(errno.EPIPE, "the engine's socket")

    with pytest.raises(BrokenPipeError, match="the engine's socket"):
        ending("bench.live", engine_gone)
    assert capsys.readouterr() == ("a table\n", "")
