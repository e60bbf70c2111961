"""The real stack under its nemesis, and the checker on real harm. Minutes long; needs root, like everything here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import REPOSITORY

#: what is planted, and the rules that must see it
PLANTS = {
    "lost": {"lost"},
    "rerun": {"changed", "path"},
    "changed": {"changed"},
    "dropped": {"log"},
    "doubled": {"log"},
    "twice": {"started_twice", "left"},
    "released": {"oversubscribed"},
}


def campaign(report: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, figures and the Markdown of one campaign."""
    command = [sys.executable, "-m", "tests.chaos", "--report", str(report), *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert report.exists(), f"it came to no report:\n{done.stderr[-4000:]}"
    return done.returncode, json.loads(report.with_suffix(".json").read_text()), report.read_text()


#: fewer than a quiet machine brings about: a busy one must not fail for being slow
JOBS, KILLS, POINTS = 40, 10, 8


@pytest.mark.timeout(1200)
def test_three_minutes_of_faults_break_no_promise(tmp_path: Path) -> None:
    code, figures, text = campaign(tmp_path / "report.md", "--minutes", "3", "--seed", "7")
    assert figures["violations"] == [], text
    assert code == 0
    assert figures["jobs"] >= JOBS
    assert figures["kills_total"] >= KILLS
    assert sum(1 for fired in figures["points"].values() if fired) >= POINTS


@pytest.mark.timeout(600)
def test_harm_that_is_done_to_the_stack_is_found(tmp_path: Path) -> None:
    code, figures, text = campaign(
        tmp_path / "report.md", "--minutes", "0.7", "--seed", "7", "--calm", "--plant", ",".join(PLANTS)
    )
    assert code == 1
    harmed = {entry["what"]: entry["job"] for entry in figures["planted"]}
    assert set(harmed) == set(PLANTS), f"not everything was planted: {harmed}"
    found: dict[str, set[str]] = {}
    for violation in figures["violations"]:
        found.setdefault(violation["job"], set()).add(violation["rule"])
    everywhere = set().union(*found.values())
    for plant, rules in PLANTS.items():
        seen = everywhere if plant in ("released", "twice") else found.get(harmed[plant], set())
        assert rules <= seen, f"{plant}: {rules - seen} not found\n{text}"
