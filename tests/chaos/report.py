"""What a campaign showed, for a person (Markdown) and for a program (JSON)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hivemind_worker.killpoints import POINTS
from tests.chaos.journal import Entry
from tests.chaos.recovery import recovery
from tests.chaos.story import Violation, stories

#: violations whose job's story is told in full
STORIES = 25
#: seconds around a job's life in which faults are shown beside it
AROUND = 2.0


def write_report(path: Path | None, entries: list[Entry], violations: Sequence[Violation]) -> str:
    """Write both files, if there is a path; the short form for the terminal."""
    found = figures(entries, violations)
    text = markdown(found, entries, violations)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return text.partition("\n## Stories")[0]


def figures(entries: list[Entry], violations: Sequence[Violation]) -> dict[str, Any]:
    """All numbers. Pure."""
    terms: Entry = next((entry for entry in entries if entry["kind"] == "campaign"), {})
    told = [story for story in stories(entries).values() if story.acknowledged]
    retried = [e for story in told for e in story.events if e["state"] == "waiting" and e["cause"]]
    points = Counter(entry["name"] for entry in entries if entry["kind"] == "point")
    faults = Counter(entry["name"] for entry in entries if entry["kind"] == "fault" and entry["what"] == "begin")
    clean: Entry = next((entry for entry in entries if entry["kind"] == "clean"), {})
    return {
        "seed": terms.get("seed"),
        "minutes": terms.get("minutes"),
        "on_partition": terms.get("on_partition"),
        "jobs": len(told),
        "submitted": len([entry for entry in entries if entry["kind"] == "submit"]),
        "containers": sum(len(story.lives) for story in told),
        "outcomes": _count(str(story.record.get("cause")) for story in told),
        "retries": _count(event["cause"] for event in retried),
        "attempts": _count(str(story.record.get("attempt")) for story in told),
        "kills": _count(entry["process"] for entry in entries if entry["kind"] == "kill"),
        "kills_total": len([entry for entry in entries if entry["kind"] == "kill"]),
        "faults": dict(sorted(faults.items())),
        "points": {name: points.get(name, 0) for name in POINTS},
        "points_missed": [name for name in POINTS if not points.get(name)],
        "recovery": recovery(entries),
        "clean_after_seconds": clean.get("after"),
        "broken_faults": [e.get("broke") for e in entries if e["kind"] == "fault" and e.get("broke")],
        "planted": [{"what": e["what"], "job": e["job"]} for e in entries if e["kind"] == "planted"],
        "violations": [{"rule": one.rule, "job": one.job, "words": one.words} for one in violations],
    }


def _count(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def markdown(found: dict[str, Any], entries: list[Entry], violations: Sequence[Violation]) -> str:
    """The same for a person, with the whole story of each violated job. Pure."""
    verdict = "no violation" if not violations else f"**{len(violations)} violations**"
    lines = [
        f"# Campaign of seed {found['seed']}, {found['minutes']} minutes: {verdict}",
        "",
        f"{found['jobs']} jobs acknowledged, {found['containers']} containers, {found['kills_total']} kills; "
        f"on_partition = {found['on_partition']}; at rest after {found['clean_after_seconds']} s.",
        "",
        "| | |",
        "|---|---|",
    ]
    for name in ("outcomes", "retries", "attempts", "kills", "faults", "points"):
        lines.append(f"| {name} | {' · '.join(f'{key} {value}' for key, value in found[name].items())} |")
    for name, value in found["recovery"].items():
        lines.append(f"| {name} | {' · '.join(f'{key} {number}' for key, number in value.items())} |")
    if found["points_missed"]:
        lines.append(f"| points missed | {', '.join(found['points_missed'])} |")
    if violations:
        lines += ["", "## Violations", ""]
        lines += [f"- **{one.rule}** `{one.job}`: {one.words}" for one in violations]
        lines += ["", "## Stories", ""]
        for job in list(dict.fromkeys(one.job for one in violations if one.job))[:STORIES]:
            lines += [f"### {job}", "", "```", *story_of(job, entries), "```", ""]
    return "\n".join(lines) + "\n"


def story_of(job: str, entries: list[Entry]) -> list[str]:
    """Everything that was seen of one job, and what the nemesis did meanwhile. Pure."""
    mine = [entry for entry in entries if entry.get("job") == job]
    running = [entry["t"] for entry in mine if entry["kind"] not in ("record", "final", "log", "left", "history")]
    if not running:
        return [_line(entry, 0.0) for entry in mine]
    first, last = min(running) - AROUND, max(running) + AROUND
    beside = [
        entry
        for entry in entries
        if entry["kind"] in ("fault", "kill", "point", "process")
        and entry.get("job") != job
        and first <= entry["t"] <= last
    ]
    shown = sorted([*mine, *beside], key=lambda entry: float(entry["t"]))
    return [_line(entry, running[0]) for entry in shown]


def _line(entry: Entry, zero: float) -> str:
    rest = {key: value for key, value in entry.items() if key not in ("t", "kind", "job", "container", "id")}
    if "items" in rest:
        rest["items"] = str(rest["items"])[:600]
    words = " ".join(f"{key}={value}" for key, value in rest.items() if value not in (None, ""))
    return f"{entry['t'] - zero:9.3f}  {entry['kind']:<10} {words}"
