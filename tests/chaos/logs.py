"""A job's log as the checker sees it: runs of consecutive numbers per attempt and stream, and the marked gaps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: what the node says in a log begins so
NOTICE = "[hivemind]"
#: … of an attempt that ran on under another engine: the one before had read lines that it wrote nowhere
PASSED_ON = "engine was followed by another while this ran"
#: its words where something is missing, of whatever size; whatever else it says excuses nothing
GAPS = (
    "missing here", "some of the output is missing", "were dropped here", "no longer kept here",
    "the rest of this file could not be written",
)  # fmt: skip


class LogReader:
    """Takes a log's bytes in order; what came is kept as runs. Pure."""

    def __init__(self) -> None:
        #: [stream, attempt, first, last], or ["gap", text], or ["junk", text], in order
        self.items: list[list[Any]] = []
        self._rest: dict[str, bytes] = {}

    def feed(self, source: str, data: bytes) -> None:
        """Bytes of one stream (`stdout`, `stderr`, `notice`, or `both` for a file)."""
        if source == "notice":
            self.items.append(["gap", data.decode("utf-8", "replace").strip()])
            return
        whole, newline, rest = (self._rest.get(source, b"") + data).rpartition(b"\n")
        self._rest[source] = rest
        for line in (whole + newline).splitlines():
            self._line(source, line.decode("utf-8", "replace"))

    def end(self) -> list[list[Any]]:
        """What was read, the last half lines included."""
        for source, rest in self._rest.items():
            if rest:
                self._line(source, rest.decode("utf-8", "replace"), whole=False)
        self._rest.clear()
        return self.items

    def _line(self, source: str, line: str, *, whole: bool = True) -> None:
        words = line.split(" ")
        if line.startswith(NOTICE):
            self.items.append(["gap", line])
        elif whole and len(words) == 3 and words[0] in "oe" and words[1].isdigit() and words[2].isdigit():
            self._number(words[0], int(words[1]), int(words[2]))
        elif line:
            self.items.append(["junk" if whole else "torn", f"{source}: {line[:80]}"])

    def _number(self, stream: str, attempt: int, number: int) -> None:
        for item in reversed(self.items):
            if item[0] not in ("o", "e"):
                break  # a notice ends every run, so that one sees on which side of it a line stands
            if item[0] == stream:
                if item[1] == attempt and item[3] + 1 == number:
                    item[3] = number
                    return
                break
        self.items.append([stream, attempt, number, number])


def complaints(items: Iterable[list[Any]], attempt: int | None = None, in_flight: int = 0) -> list[str]:
    """What is wrong with a log: numbers that are missing without a mark, that come twice, or lines nobody wrote.

    `attempt`: the only one that may be in there; None: any. `in_flight`: so many lines of each stream may be missing
    before the word that the engine was followed by another.
    """
    items, found = list(items), list[str]()
    reached: dict[tuple[str, int], int] = {}
    marked: set[str] = set()
    word_of = passed_on(items)
    left: dict[tuple[str, int], int] = {}
    scraps = 2 * min(in_flight, len(word_of))  # a cut leaves two halves of lines
    for at, item in enumerate(items):
        if item[0] == "gap":
            marked = {"o", "e"} if _is_gap(item) else marked
            continue
        if item[0] in ("junk", "torn"):
            scraps -= 1
            if _cut_there(items[at : at + 2], reached):
                continue
            if not marked and not (at < max(word_of.values(), default=-1) and scraps >= 0):
                found.append(f"a line that the job did not write: {item[1]!r}")
            continue
        stream, of, first, last = item
        if attempt is not None and of != attempt:
            found.append(f"a line of attempt {of} in the log of attempt {attempt}")
        wanted = reached.get((stream, of), 0) + 1
        forgiven = left.get((stream, of), in_flight)
        if first > wanted and at < word_of.get(of, -1) and first - wanted <= forgiven:
            left[stream, of] = forgiven - (first - wanted)
        elif first > wanted and stream not in marked:
            found.append(f"{_name(stream)} of attempt {of}: lines {wanted} to {first - 1} are missing, and no mark")
        if first < wanted:
            found.append(f"{_name(stream)} of attempt {of}: lines {first} to {min(last, wanted - 1)} come again")
        marked.discard(stream)
        reached[stream, of] = max(last, reached.get((stream, of), 0))
    return found


def reach(items: Iterable[list[Any]], attempt: int) -> dict[str, int]:
    """The last number of each stream of one attempt."""
    found = {"o": 0, "e": 0}
    for item in items:
        if item[0] in found and item[1] == attempt:
            found[item[0]] = max(found[item[0]], item[3])
    return found


def end_is_marked(items: Iterable[list[Any]], stream: str, attempt: int) -> bool:
    """Whether a gap of any size is marked where the end of one attempt's stream would stand: behind the last line that
    is there of it, or where none is, behind the last attempt before; and before the next attempt."""
    items = list(items)
    lines = [(at, item) for at, item in enumerate(items) if item[0] in ("o", "e")]
    mine = [at for at, item in lines if item[0] == stream and item[1] == attempt]
    before = [at for at, item in lines if item[1] < attempt]
    first = max(mine or before, default=-1)
    until = min((at for at, item in lines if item[1] > attempt), default=len(items))
    return any(_is_gap(item) for item in items[first + 1 : until])


def passed_on(items: Iterable[list[Any]]) -> dict[int, int]:
    """Of which attempts it is said that their engine was followed by another, and at which item: it stands behind
    their lines. An attempt without any is 0."""
    found, attempt = dict[int, int](), 0
    for at, item in enumerate(items):
        if item[0] in ("o", "e"):
            attempt = item[1]
        elif item[0] == "gap" and PASSED_ON in item[1]:
            found[attempt] = at
    return found


def _cut_there(items: list[list[Any]], reached: dict[tuple[str, int], int]) -> bool:
    """Whether a half line is the beginning of the next one of a stream, and the gap that cut it follows at once: a file
    on a disk that is full ends anywhere."""
    half = items[0][1].partition(": ")[2]
    whole = [f"{stream} {attempt} {last + 1}" for (stream, attempt), last in reached.items()]
    return len(items) > 1 and _is_gap(items[1]) and any(line.startswith(half) for line in whole)


def _is_gap(item: list[Any]) -> bool:
    return item[0] == "gap" and any(words in item[1] for words in GAPS)


def _name(stream: str) -> str:
    return "stdout" if stream == "o" else "stderr"
