"""`./dev bench [NAME…]`: run the benchmarks and print their tables; `--json` prints one document instead."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence

from bench.entry import ending, remark, say

ALL = ("assign", "jobs", "idle", "kills", "boot", "admission", "held_out", "ticks", "mixed", "live")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; exit 0 when everything could be measured.

    A benchmark with options of its own, asked for alone, gets the rest of the line and says what the exit code is.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in ALL and not any(name in ALL for name in given[1:]):
        own = getattr(importlib.import_module(f"bench.{given[0]}"), "main", None)
        if own is not None:
            return int(own(given[1:]))
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("names", nargs="*", default=list(ALL), metavar="NAME", help=f"any of {', '.join(ALL)}")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return _run(parser.parse_args(given), parser)


def _run(options: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    results = {}
    for name in options.names:
        if name not in ALL:
            parser.error(f"there is no benchmark {name}; there are {', '.join(ALL)}")
        module = importlib.import_module(f"bench.{name}")
        remark(f"[bench] {name}: {str(module.__doc__).splitlines()[0]}")
        results[name] = module.measure()
        if not options.json:
            say(module.table(results[name]))
    if options.json:
        say(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(ending("bench", main))
