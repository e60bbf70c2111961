"""One campaign: the stack comes up under load, the nemesis strikes, everything comes to rest, the checker judges."""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from tests.chaos import rest
from tests.chaos.checker import check
from tests.chaos.journal import Journal
from tests.chaos.master import Master
from tests.chaos.nemesis import Nemesis
from tests.chaos.planting import Planter
from tests.chaos.report import write_report
from tests.chaos.stack import BRIDGE, REDIS, Stack, Terms, log_ends

#: seconds between two lines of progress
TELL = 15.0


def main() -> int:
    """Run inside namespaces of its own (inside.py)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--report", type=Path)
    parser.add_argument("--plant", default="")
    parser.add_argument("--calm", action="store_true")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    path = given.report.with_suffix(".journal") if given.report else given.root / "journal"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    journal = Journal(path)
    stack = None
    try:
        terms = Terms(on_partition=random.Random(given.seed).choice(("keep", "stop")))
        stack = Stack(given.root, journal, terms)
        run(stack, given)
    finally:
        if stack is not None:
            stack.close()
        journal.close()
        if given.report and stack is not None:
            logs = given.report.with_suffix(".logs")
            shutil.rmtree(logs, ignore_errors=True)
            shutil.copytree(stack.logs, logs)
            with contextlib.suppress(OSError):
                shutil.copytree(stack.nodes["n1"] / "logs", logs / "n1")
                shutil.copy(stack.engine.log, logs)
    entries = journal.entries()
    violations = check(entries)
    summary = write_report(given.report, entries, violations)
    print(summary)
    return 1 if violations else 0


def run(stack: Stack, given: argparse.Namespace) -> None:
    """From the start to rest."""
    journal, caps = stack.journal, stack.caps
    nemesis = Nemesis(stack, given.seed)
    tell(f"seed {given.seed}, {given.minutes:g} min, on_partition={stack.terms.on_partition}: the stack comes up")
    try:
        stack.up()
    except AssertionError:
        for name, lines in log_ends(stack.logs, 5):
            tell(f"the stack does not come up; the end of {name}:\n  " + "\n  ".join(lines))
        raise
    journal.note(
        "campaign", seed=given.seed, minutes=given.minutes, on_partition=stack.terms.on_partition,
        node_lost_after=stack.terms.node_lost_after, nodes=sorted(stack.nodes),
        millicores=caps.millicores, memory=caps.memory, slots=caps.slots, planted=given.plant, calm=given.calm,
    )  # fmt: skip
    address = f"127.0.0.1:{BRIDGE}"
    master = Master(address, journal, given.seed, REDIS)
    master.start()
    planter = Planter(stack, given.plant)
    end = time.monotonic() + 60 * given.minutes
    if not given.calm:
        nemesis.start()
    planter.start()
    watch(end, journal, master)
    tell("the nemesis ends; what it did is made good")
    if not given.calm:
        nemesis.stop()
    planter.stop()
    master.stop()
    tell(f"{len(master.acknowledged)} jobs acknowledged, {len(master.unfinished())} on their way")
    rest.await_end(master, journal, rest.HARMED_END_WITHIN if given.plant else rest.END_WITHIN)
    rest.await_clean(stack)
    tell("reading every record, log and artifact")
    rest.read_everything(stack, master, address)
    rest.read_history(stack)
    master.close()


def watch(end: float, journal: Journal, master: Master) -> None:
    """Progress on stderr until the time is over."""
    pause = threading.Event()
    while (left := end - time.monotonic()) > 0:
        pause.wait(min(TELL, left))
        kills, points = len(journal.of("kill")), {entry["name"] for entry in journal.of("point")}
        outcomes = len({entry["job"] for entry in journal.of("outcome")})
        tell(
            f"{max(0.0, end - time.monotonic()) / 60:4.1f} min left: {len(master.acknowledged)} jobs, "
            f"{outcomes} ended, {kills} kills, {len(points)} points"
        )


def tell(words: str) -> None:
    """To whoever watches."""
    print(f"chaos {time.strftime('%H:%M:%S')} {words}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
