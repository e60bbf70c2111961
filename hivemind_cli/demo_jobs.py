"""The three programs of the demo: where each lies, what it is capped to, and how its result is checked."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BUNDLES = Path(__file__).parent / "demo_bundles"


class WrongResult(Exception):
    """The artifact does not hold what the program must have computed."""


@dataclass(frozen=True, slots=True)
class DemoJob:
    """`check` takes the unpacked artifact, says in one line what it found, or raises WrongResult."""

    name: str
    title: str
    memory: int
    check: Callable[[Path], str]

    @property
    def bundle(self) -> Path:
        """Its directory."""
        return BUNDLES / self.name


def _expect(what: str, seen: object, wanted: object) -> None:
    if seen != wanted:
        raise WrongResult(f"{what} is {seen!r}, not {wanted!r}")


def check_primes(artifact: Path) -> str:
    """The counts are known: OEIS A006880 and A007508 continue them, and a plain sieve agrees."""
    result = json.loads((artifact / "result.json").read_text("utf-8"))
    _expect("limit", result["limit"], 50_000_000)
    _expect("primes", result["primes"], 3_001_134)
    _expect("twin pairs", result["twin_pairs"], 239_101)
    _expect("the largest", result["largest"], 49_999_991)
    return f"{result['primes']:,} primes below {result['limit']:,}, {result['twin_pairs']:,} pairs of twins"


def check_words(artifact: Path) -> str:
    """Counted again, here."""
    text = (BUNDLES / "words" / "text.txt").read_text("utf-8")
    words = Counter(re.findall(r"[a-z]+(?:'[a-z]+)?", text.lower()))
    statistics = json.loads((artifact / "statistics.json").read_text("utf-8"))
    _expect("words", statistics["words"], words.total())
    _expect("different words", statistics["different_words"], len(words))
    with (artifact / "words.csv").open(encoding="utf-8", newline="") as file:
        counted = {row["word"]: int(row["count"]) for row in csv.DictReader(file)}
    _expect("words.csv", counted, dict(words))
    return f"{words.total()} words, {len(words)} different, {statistics['sentences']} sentences"


def check_weather(artifact: Path) -> str:
    """Every station has its file and its row, and the means are those of the readings."""
    with (BUNDLES / "weather" / "readings.csv").open(encoding="utf-8", newline="") as file:
        readings = [(row["station"], float(row["celsius"])) for row in csv.DictReader(file)]
    with (artifact / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["station"]: row for row in csv.DictReader(file)}
    _expect("stations", sorted(rows), sorted({name for name, _ in readings}))
    for name, row in rows.items():
        values = [value for station, value in readings if station == name]
        if abs(float(row["mean"]) - sum(values) / len(values)) > 0.01:
            raise WrongResult(f"the mean of {name} is {row['mean']}")
        lines = (artifact / "stations" / f"{name}.csv").read_text("utf-8").splitlines()
        _expect(f"lines of {name}.csv", len(lines), len(values) + 1)
    if "<polyline" not in (artifact / "chart.svg").read_text("utf-8"):
        raise WrongResult("chart.svg holds no line")
    if not (artifact / "report.md").is_file():
        raise WrongResult("there is no report.md")
    return f"{len(readings)} readings of {len(rows)} stations in {len(rows) + 3} files"


MIB = 1024 * 1024
JOBS = (
    DemoJob("primes", "a numeric computation", 128 * MIB, check_primes),
    DemoJob("words", "statistics over a text it ships", 64 * MIB, check_words),
    DemoJob("weather", "an input file, several output files", 96 * MIB, check_weather),
)
