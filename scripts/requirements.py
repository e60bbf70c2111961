"""Prints what an image needs to install HiveMind without an index: its dependencies and its build backend.

With --all-pythons also the pins in constraints.txt that this Python did not need: pip downloads for the markers of the
Python it runs under, and the image's may be another ("async-timeout; python_full_version < '3.11.3'").
"""

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent


def is_installed(pin: str) -> bool:
    try:
        return bool(version(pin.partition("==")[0]))
    except PackageNotFoundError:
        return False


def main() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))
    # An image serves every site: the driver for a history in PostgreSQL is part of it.
    drivers = project["project"]["optional-dependencies"]["postgres"]
    lines = [*project["project"]["dependencies"], *drivers, *project["build-system"]["requires"]]
    if "--all-pythons" in sys.argv[1:]:
        text = (REPO / "constraints.txt").read_text(encoding="utf-8")
        pins = (line.partition("#")[0].strip() for line in text.splitlines())
        lines += [pin for pin in pins if pin and not is_installed(pin)]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
