"""What a command prints: one JSON document for a script, or plain tables and colours for a person."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Any

_COLOURS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36, "dim": 2, "bold": 1}
STATE_COLOURS = {
    "waiting": "yellow", "admitted": "cyan", "preparing": "cyan", "running": "blue", "collecting": "cyan",
    "completed": "green", "failed": "red", "stopped": "magenta",
    "up": "green", "draining": "yellow", "down": "red", "ok": "green", "warn": "yellow", "fail": "red",
}  # fmt: skip
ENDED = frozenset({"completed", "failed", "stopped"})


def emit_json(document: Any) -> None:
    """The one document of a command under --json."""
    json.dump(document, sys.stdout, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")
    sys.stdout.flush()


def note(message: str) -> None:
    """A line for a person, beside the data."""
    print(message, file=sys.stderr, flush=True)


def coloured(stream: IO[str]) -> bool:
    """Whether colour belongs there: a terminal, and nobody said no (no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def styled(text: str, colour: str | None, stream: IO[str] | None = None) -> str:
    """The text in a colour where colour belongs."""
    if colour is None or not coloured(stream or sys.stdout):
        return text
    return f"\033[{_COLOURS[colour]}m{text}\033[0m"


def clean(text: str) -> str:
    """Text of others made safe for a terminal: no control character reaches it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def size(amount: float | None) -> str:
    """Bytes for a person, powers of 1024: 268435456 → '256M'."""
    if amount is None:
        return "-"
    value = float(amount)
    for unit in ("", "K", "M", "G"):
        if abs(value) < 1000:
            return f"{value:.3g}{unit}"
        value /= 1024
    return f"{value:.3g}T" if value < 1000 else f"{value:.0f}T"


def duration(seconds: float | None) -> str:
    """Seconds for a person: 0.42 → '0.4s', 75 → '1m15s', 7260 → '2h01m'."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{max(0.0, seconds):.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def moment(iso: str | None) -> datetime | None:
    """An ISO 8601 time of the bridge's."""
    return datetime.fromisoformat(iso) if iso else None


def ran_for(task: dict[str, Any], now: datetime | None = None) -> float | None:
    """Seconds it ran, as measured at its end; before that, from the start to now. None when it never started."""
    measured = (task.get("usage") or {}).get("wall_seconds")
    if measured and task["state"] in ENDED:  # the end is recorded later: after an outage, by as long as that lasted
        return float(measured)
    started, finished = moment(task["times"].get("started")), moment(task["times"].get("finished"))
    if started is None:
        return None
    return ((finished or now or datetime.now(UTC)) - started).total_seconds()


def age(iso: str | None, now: datetime | None = None) -> float | None:
    """Seconds since a time."""
    when = moment(iso)
    return None if when is None else ((now or datetime.now(UTC)) - when).total_seconds()


def until(iso: str, seen: str | None = None) -> str:
    """A moment to come: '17:40:05 UTC (in 2m05s)'; one that has passed is due.

    `seen`: when it was so, by the clock that the moment is told by; this machine's may say another time.
    """
    when, now = datetime.fromisoformat(iso), datetime.fromisoformat(seen) if seen else datetime.now(UTC)
    left = (when - now).total_seconds()
    shape = "%H:%M:%S UTC" if abs(left) < 86_400 else "%Y-%m-%d %H:%M UTC"
    return f"{when.astimezone(UTC).strftime(shape)} ({f'in {duration(left)}' if left > 0 else 'due'})"


def width() -> int | None:
    """Columns of the terminal on stdout; None where there is none, and nothing is to be cut."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], columns: int | None = None, right: Collection[str] = ()
) -> list[str]:
    """Lines of a table. The last column is cut to what is left of `columns`; states have their colours.

    `right`: the headings of columns of figures, whose digits stand under each other.
    """
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(head), *cells]) for i in range(len(head))]
    room = None if columns is None else max(8, columns - sum(widths[:-1]) - 2 * (len(widths) - 1))
    sides = [name in right for name in head]
    heading = styled(_line(head, widths, sides, room, paint=False), "bold")
    return [heading, *(_line(row, widths, sides, room, paint=True) for row in cells)]


def without(head: Sequence[str], rows: Sequence[Sequence[str]], usual: Mapping[str, str]) -> tuple[list[str], Any]:
    """Heading and rows without the columns in which every row has the usual: they would tell nothing."""
    kept = [i for i, name in enumerate(head) if name not in usual or any(row[i] != usual[name] for row in rows)]
    return [head[i] for i in kept], [[row[i] for i in kept] for row in rows]


def counted(number: float, one: str, many: str = "") -> str:
    """'1 core', '1.5 cores'."""
    return f"{number:.10g} {one if number == 1 else many or one + 's'}"


def _line(row: Sequence[str], widths: Sequence[int], sides: Sequence[bool], room: int | None, *, paint: bool) -> str:
    *front, last = row
    if room is not None and len(last) > room:
        last = last[: room - 1] + "…"
    if sides[-1]:
        last = last.rjust(widths[-1])
    padded = [
        cell.rjust(wide) if right else cell.ljust(wide) for cell, wide, right in zip(front, widths, sides, strict=False)
    ]
    if paint:
        padded = [styled(text, STATE_COLOURS.get(cell)) for text, cell in zip(padded, front, strict=True)]
    return "  ".join([*padded, last]).rstrip()
