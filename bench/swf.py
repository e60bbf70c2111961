"""Workloads in the Standard Workload Format: one line a job, eighteen fields (Feitelson's archive defines them)."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

FIELDS = 18
#: the declared limit of a job that names none: its run time times this. A guess on the careful side: in the archive's
#: traces people ask for two to ten times what they use
LIMIT_FACTOR = 2.0
#: what the format writes where nothing is known
UNKNOWN = -1
#: field 11 of a line that is a part of a job which was interrupted; the job as a whole has a line, too
PARTS_OF_JOBS = (2, 3, 4)
#: how a file in gzip begins, as the archive has its traces
GZIP = b"\x1f\x8b"
#: of any field: seconds of thirty million years, or bytes
LARGEST = 1e15
#: as the format has them; float() would take 1_000 as well, and the digits of any script
NUMBER = re.compile(r"[-+.0-9eE]+|[-+]?(?:nan|inf|infinity)", re.ASCII | re.IGNORECASE)
HEADER_NUMBER = re.compile(r"[0-9]{1,15}")


class MalformedTrace(ValueError):
    """A line that cannot be read; the text names it by its number."""


@dataclass(frozen=True, slots=True)
class TraceJob:
    """One job of a trace; times in milliseconds since the trace's beginning. User and application: '' for unknown."""

    number: int
    submit: int
    run: int
    limit: int
    processors: int
    user: str
    application: str


def read(
    path: Path, processors: int | None = None, say: Callable[[str], None] = lambda _: None
) -> tuple[list[TraceJob], int]:
    """The jobs in the order they came, and the machine's processors: as given, else as the header says.

    Raises MalformedTrace. Left out are jobs that never ran (no run time or no processors), whose arrival is not known,
    which are a part of another line's job, or that the machine could never hold; `say` is told how many, and which line
    is the first.
    """
    jobs: list[tuple[int, TraceJob]] = []
    left_out: dict[str, list[int]] = {}
    text = _text(path)
    # Not splitlines: it also counts form feeds and the like, which no editor does.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        if line.lstrip().startswith(";"):
            name, _, value = line.lstrip("; \t").partition(":")
            if processors is None and name.strip() == "MaxProcs" and HEADER_NUMBER.fullmatch(value.strip()):
                processors = int(value)
            continue
        found = parse(line, f"{path}: line {number}")
        if isinstance(found, str):
            left_out.setdefault(found, []).append(number)
        else:
            jobs.append((number, found))
    if not jobs and not left_out:
        raise MalformedTrace(f"{path}: holds no job")
    if not processors:
        raise MalformedTrace(f"{path}: has no '; MaxProcs:' line; say --procs")
    too_large = [number for number, job in jobs if job.processors > processors]
    if too_large:
        left_out[f"asked for more than {processors} processors"] = too_large
    for why, lines in left_out.items():
        say(f"{path}: {len(lines)} left out that {why}; the first is line {lines[0]}")
    fitting = [job for _, job in jobs if job.processors <= processors]
    if not fitting:
        raise MalformedTrace(f"{path}: holds no job that ran and fits on {processors} processors")
    if len({(job.user, job.application) for job in fitting}) == 1:
        # One number for all says no more of whose they are than none does.
        fitting = [replace(job, user="", application="") for job in fitting]
    return sorted(fitting, key=lambda job: job.submit), processors


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:  # once: it may be a pipe
            if file.peek(len(GZIP)).startswith(GZIP):
                raise MalformedTrace(f"{path}: is gzip: unpack it first")
            with io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace") as text:
                return text.read()
    except OSError as error:
        raise MalformedTrace(f"{path}: {error.strerror}") from None


def parse(line: str, where: str) -> TraceJob | str:
    """One line; a text for one that says of no job how it was, and why. Raises MalformedTrace with `where`."""
    parts = line.split()
    if len(parts) != FIELDS:
        raise MalformedTrace(f"{where} has {len(parts)} fields, not {FIELDS}")
    values = [_number(part, f"{where}, field {place}") for place, part in enumerate(parts, 1)]
    submit, run, limit = values[1], values[3], values[8]
    size = values[7] if values[7] > 0 else values[4]
    if submit < 0 and submit != UNKNOWN:
        raise MalformedTrace(f"{where}, field 2: submitted at {parts[1]}, before the trace began")
    if size > 0 and size != int(size):
        raise MalformedTrace(f"{where}: {size:g} is no number of processors")
    if run < 0 or size <= 0:
        return "never ran"
    if submit == UNKNOWN:
        return "came nobody knows when"
    if values[10] in PARTS_OF_JOBS:
        return "are parts of jobs that have lines of their own"
    declared = limit if limit > 0 else max(1.0, run * LIMIT_FACTOR)
    return TraceJob(
        number=int(values[0]),
        submit=round(submit * 1000),
        run=round(min(run, declared) * 1000),
        limit=round(declared * 1000),
        processors=int(size),
        user=parts[11] if values[11] > 0 else "",
        application=parts[13] if values[13] > 0 else "",
    )


def _number(part: str, where: str) -> float:
    try:
        value = float(part if NUMBER.fullmatch(part) else "")
    except ValueError:
        raise MalformedTrace(f"{where}: {part[:40]!r} is not a number") from None
    if not math.isfinite(value):
        raise MalformedTrace(f"{where}: {part[:40]!r} is not a finite number")
    if abs(value) > LARGEST:
        raise MalformedTrace(f"{where}: {part[:40]!r} is too large to mean anything")
    return value


def at_load(jobs: Sequence[TraceJob], processors: int, load: float) -> list[TraceJob]:
    """The same jobs, all inter-arrival times scaled by one factor so that Σ(processors·run) / (P · span) = load."""
    first, last = jobs[0].submit, jobs[-1].submit
    area = sum(job.run * job.processors for job in jobs)
    if last == first or not area:
        raise MalformedTrace("all jobs come at once or none runs: there is no load to scale")
    factor = area / (processors * load) / (last - first)
    return [replace(job, submit=first + round((job.submit - first) * factor)) for job in jobs]


def write(path: Path, jobs: Iterable[TraceJob], processors: int, note: str) -> None:
    """A trace as a file."""
    lines = ["; Version: 2.2", f"; Note: {note}", f"; MaxProcs: {processors}"]
    lines += [
        f"{job.number} {job.submit // 1000} -1 {job.run // 1000} {job.processors} -1 -1 {job.processors} "
        f"{job.limit // 1000} -1 1 {job.user or UNKNOWN} {job.user or UNKNOWN} {job.application or UNKNOWN} 1 -1 -1 -1"
        for job in jobs
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
