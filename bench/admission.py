"""Admission: the production policy against the textbook, on workloads replayed in virtual time."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import classic, replay
from bench.entry import ending, remark, say
from bench.figures import Figures
from bench.numbers import markdown
from bench.progress import Progress, Tell
from bench.replay import MOST_PROCESSORS
from bench.swf import MalformedTrace, TraceJob, at_load, read
from hivemind_cli.progress import StatusLine

TRACES = Path(__file__).parent / "traces"
LOADS = (0.7, 0.8, 0.9)

POLICIES: dict[str, Callable[[Sequence[TraceJob], int, Tell], Figures]] = {
    "ours": lambda jobs, processors, tell: replay.simulate(jobs, processors, tell=tell),
    "fcfs": lambda jobs, processors, tell: classic.simulate(jobs, processors, backfill=False, tell=tell),
    "easy": lambda jobs, processors, tell: classic.simulate(jobs, processors, backfill=True, tell=tell),
}


def compare(jobs: Sequence[TraceJob], processors: int, policies: Sequence[str], of: str = "") -> dict[str, Figures]:
    """One workload through each policy, with the seconds each took; `of`: what a person is told it is."""
    found = {}
    for name in policies:
        begun = time.perf_counter()
        with StatusLine() as line:
            made = POLICIES[name](jobs, processors, Progress(line, of + name, len(jobs)))
        found[name] = replace(made, seconds=round(time.perf_counter() - begun, 3))
    return found


def measure() -> dict[str, Any]:
    """Every trace of bench/traces at every load."""
    result = {}
    for path in sorted(TRACES.glob("*.swf")):
        jobs, processors = read(path)
        for load in LOADS:
            workload = f"{path.stem} {load}"
            made = compare(at_load(jobs, processors, load), processors, tuple(POLICIES), of=f"{workload}, ")
            result[workload] = {name: each.as_dict() for name, each in made.items()}
    return result


def table(result: dict[str, Any]) -> str:
    """Figures by workload and load, and the ratios to EASY."""
    rows, ratios = [], []
    for workload, made in result.items():
        for name, found in made.items():
            rows.append([workload, name, *_cells(found)])
        ours, easy = made["ours"], made["easy"]
        ratios.append(
            [
                workload,
                f"{ours['mean_bounded_slowdown'] / easy['mean_bounded_slowdown']:.2f}",
                f"{ours['mean_wait'] / easy['mean_wait']:.2f}",
                f"{ours['max_wait'] / easy['max_wait']:.2f}",
                f"{100 * (ours['utilisation'] - easy['utilisation']):+.2f}",
                ours["broken_reservations"],
            ]
        )
    head = ["workload", "slowdown", "mean wait", "longest wait", "utilisation, points", "broken"]
    return markdown("Admission on workloads", ["workload", "policy", *HEAD], rows) + "\n" + markdown(
        "Admission, ours to EASY", head, ratios
    )  # fmt: skip


HEAD = (
    "utilisation", "mean wait s", "p95 wait s", "longest wait s", "bounded slowdown", "makespan s", "backfills",
    "broken", "ETA error s", "took s",
)  # fmt: skip


def _cells(found: dict[str, Any]) -> list[str]:
    eta = found["eta_mean_abs_error"]
    return [
        f"{found['utilisation']:.4f}",
        f"{found['mean_wait']:.0f}",
        f"{found['p95_wait']:.0f}",
        f"{found['max_wait']:.0f}",
        f"{found['mean_bounded_slowdown']:.1f}",
        f"{found['makespan']:.0f}",
        str(found["backfills"]),
        str(found["broken_reservations"]),
        "" if eta is None else f"{eta:.0f}",
        f"{found['seconds']:.1f}",
    ]


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError("must lie between 0 and 100")
    return value


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m bench.admission [--trace FILE.swf --procs N]`; exit 1 for a trace that cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m bench.admission", description=__doc__)
    parser.add_argument(
        "--trace", type=Path, metavar="FILE.swf", help="Standard Workload Format; else all of bench/traces"
    )
    parser.add_argument("--procs", type=int, metavar="N", help="the machine's processors; else as the trace says")
    parser.add_argument("--load", type=_positive, metavar="L", help="rescale arrivals to this offered load")
    parser.add_argument("--policy", choices=list(POLICIES), help="one alone; else all")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args(arguments)
    if options.trace is None:
        if options.procs is not None or options.load is not None or options.policy is not None:
            parser.error("--procs, --load and --policy are of one trace: name it with --trace")
        result = measure()
        say(json.dumps(result, indent=2) if options.json else table(result))
        return 0
    if options.procs is not None and options.procs < 1:
        parser.error("argument --procs: must be at least 1")
    try:
        jobs, processors = read(options.trace, options.procs, remark)
        if processors > MOST_PROCESSORS:
            raise MalformedTrace(f"{processors} processors; the replay counts up to {MOST_PROCESSORS}")
        if options.load:
            jobs = at_load(jobs, processors, options.load)
    except MalformedTrace as error:
        remark(f"bench.admission: {error}")
        return 1
    made = compare(jobs, processors, [options.policy] if options.policy else list(POLICIES))
    found = {name: each.as_dict() for name, each in made.items()}
    if options.json:
        say(json.dumps(found, indent=2))
    else:
        say(markdown(options.trace.stem, ["policy", *HEAD], [[name, *_cells(each)] for name, each in found.items()]))
    return 0


if __name__ == "__main__":
    sys.exit(ending("bench.admission", main))
