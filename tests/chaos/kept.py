"""What is kept of a job that has ended: its log, by whichever way it is read, and its artifact. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos import logs
from tests.chaos.journal import Entry
from tests.chaos.story import TERMINAL, Story

#: lines of a stream that an engine may have read and not written when it ended: of a program that pauses after each,
#: and of one that does not, for which they fill its pipe (64 KiB of `o 1 12345`)
IN_FLIGHT, IN_FLIGHT_LOUD = 8, 6_600
#: by which evidence one knows that no worker collected anything: the job was taken from a node that is gone
NODE_GONE = "was not heard of for"
#: what a program says that cannot write
NO_SPACE = "No space left"


def log(story: Story) -> Iterator[str]:
    """Every line is there once, in its order, or its gap is marked; by StreamLogs and in the artifact."""
    accepted = story.record.get("attempt")
    if accepted is None or story.record.get("state") not in TERMINAL:
        return
    in_flight = story.engine_ends_met * (IN_FLIGHT_LOUD if story.order.get("what") == "loud" else IN_FLIGHT)
    for entry in story.of("log"):
        source, only = entry["source"], accepted if entry["source"] == "artifact" else None
        if "missing" in entry:
            continue
        items = [item for item in entry["items"] if not _pardoned(item, bool(entry.get("truncated")))]
        for words in (*entry.get("wrong", ()), *logs.complaints(items, only, in_flight)):
            yield f"{source}: {words}"
        if logs.passed_on(items) and not in_flight:
            yield f"{source}: it says that another engine followed while it ran, and none did"
        if not entry.get("truncated"):
            yield from _cut_off(story, source, items, only, in_flight)


def _cut_off(story: Story, source: str, items: list[list[object]], only: int | None, in_flight: int) -> Iterator[str]:
    """Of each attempt that is in there, or should be, the last line is the last that its program printed."""
    passed_on = logs.passed_on(items)
    streams = {"o": "stdout"} if story.order.get("what") == "loud" else {"o": "stdout", "e": "stderr"}
    printed: dict[int, int] = {}
    for end in story.of("witness", what="end"):
        printed[end["attempt"]] = max(end["lines"], printed.get(end["attempt"], 0))
    for attempt, last in sorted(printed.items()):
        if only not in (None, attempt):
            continue
        reached = logs.reach(items, attempt)
        for stream, name in streams.items():
            complete = reached[stream] + (in_flight if attempt in passed_on else 0) >= last
            if not complete and not logs.end_is_marked(items, stream, attempt):
                yield (
                    f"{source}: {name} of attempt {attempt} ends with line {reached[stream]}, the job printed "
                    f"{last}, and no mark"
                )


def _pardoned(item: list[object], truncated: bool) -> bool:
    """A job's own complaint about a disk that the nemesis filled; a line cut in a log that is said to be cut."""
    return (item[0] == "junk" and NO_SPACE in str(item[1])) or (item[0] == "torn" and truncated)


def not_kept(story: Story) -> Iterator[str]:
    """Whatever has ended has a log, and an artifact if a worker saw its end; both can be had."""
    if not story.acknowledged or story.record.get("state") not in TERMINAL or story.of("unread"):
        return  # `lost` speaks of those
    for source in ("stream", "artifact"):
        if len(story.of("log", source=source)) != 1:
            yield f"{len(story.of('log', source=source))} logs were read from the {source}"
    artifact, told = story.first("log", source="artifact"), story.record.get("artifact")
    if not artifact:
        return
    if "missing" in artifact:
        if told:
            yield f"its record names an artifact that cannot be had: {artifact['missing']}"
        if _collected(story):
            yield f"a worker collected what it left, and there is no artifact: {artifact['missing']}"
        return
    if not told:
        yield "there is an artifact, and its record names none"
    if artifact.get("sha256", told) != told:
        yield f"the artifact is not the one that its record names: {artifact['sha256']} and {told}"
    if artifact.get("told", {}).get("task_id") != story.job:
        yield f"outcome.json is another job's: {artifact.get('told')}"
    if artifact.get("twice"):
        yield "there are two files of one name in its artifact"
    yield from _result(story, artifact)


def _collected(story: Story) -> bool:
    """Whether its last attempt came to where a worker makes the artifact, and that worker told of the end."""
    before = story.events[-2]["state"] if len(story.events) > 1 else ""
    gone = NODE_GONE in str(story.record.get("evidence"))
    return story.record["state"] == "completed" or (before == "collecting" and not gone)


def _result(story: Story, artifact: Entry) -> Iterator[str]:
    """The program's last deed is its result: who came to his end has one, unless the disk was full."""
    if story.record.get("cause") not in ("ok", "exit"):
        return
    attempt = story.record["attempt"]
    ends, life = story.ends(attempt), story.last_life
    wanted = f"result {attempt} {ends[-1]['lines']}\n" if ends else None
    if artifact.get("result") == wanted or life is None:
        return
    full = any(begin < (life.ended or begin) and end > life.started for begin, end in story.full.get(life.node, ()))
    said = any(NO_SPACE in str(item[1]) for entry in story.of("log") for item in entry["items"])
    if not (full or said):
        yield f"its result is {artifact.get('result')!r}, and the program wrote {wanted!r}"
