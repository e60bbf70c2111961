"""The judge of a campaign: what was promised against what was seen. Pure: entries in, violations out.

It believes the kernel (pidfds), the runtime's own notes and what jobs told the witness; what the site says of itself is
held against those, and against what it said before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hivemind_worker.killpoints import POINTS
from tests.chaos import causes, containers, kept
from tests.chaos.containers import SLACK
from tests.chaos.journal import Entry
from tests.chaos.story import TERMINAL, Story, Violation, stories

#: minutes of a campaign in which every kill point must have had its turn
ALL_POINTS_IN = 10
#: why a job may end in the line: what ran before it came back there is fenced off
IN_LINE = ("cancelled", "unschedulable", "internal")
#: … and the evidence of the last: its record was put into quarantine
DAMAGED = "its record was damaged"
#: which state may follow which
FOLLOWS: dict[str, tuple[str, ...]] = {
    "": ("waiting",),
    "waiting": ("admitted", "failed", "stopped"),
    "admitted": ("preparing", "waiting", *TERMINAL),
    "preparing": ("running", "collecting", "waiting", *TERMINAL),
    "running": ("collecting", "waiting", *TERMINAL),
    "collecting": ("waiting", *TERMINAL),
}


def _missed(entries: list[Entry]) -> Iterator[Violation]:
    """A campaign of some length kills at every kill point, or it has not shown what it is to show."""
    terms = next((entry for entry in entries if entry["kind"] == "campaign"), {})
    if terms.get("minutes", 0) < ALL_POINTS_IN or terms.get("calm"):
        return
    hit = {entry["name"] for entry in entries if entry["kind"] == "point" and entry["action"] == "kill"}
    for name in POINTS:
        if name not in hit:
            yield Violation("missed", "", f"nothing was killed at the point {name}")


def _broke(entries: list[Entry]) -> Iterator[Violation]:
    """A nemesis that stops, or an observer that looks away, would leave everything green."""
    for entry in entries:
        if entry["kind"] == "broke":
            yield Violation("broke", "", f"{entry['who']}: {entry['why']}")
        elif entry["kind"] == "fault" and entry.get("broke"):
            yield Violation("broke", "", f"the fault {entry['name']}: {entry['broke']}")


def check(entries: Iterable[Entry]) -> list[Violation]:
    """All violations in a journal, by rule and job."""
    entries = list(entries)
    found: list[Violation] = []
    told = stories(entries)
    for story in told.values():
        for rule in RULES:
            found += [Violation(rule.__name__.removeprefix("_"), story.job, words) for words in rule(story)]
    found += containers.oversubscribed(entries, told.values())
    found += containers.undead(entries)
    found += _missed(entries)
    found += _broke(entries)
    found += [
        Violation("left", entry.get("job", ""), f"{entry['what']} {entry['name']}")
        for entry in entries
        if entry["kind"] == "left"
    ]
    return sorted(found, key=lambda one: (one.rule, one.job, one.words))


# --- outcomes -----------------------------------------------------------------------------------------------


def _lost(story: Story) -> Iterator[str]:
    """An acknowledged job reaches an end."""
    if not story.acknowledged:
        return
    for entry in story.of("unread"):
        yield f"it cannot be read any more: {entry['code']} {entry['words']}"
    state = story.record.get("state")
    if state not in TERMINAL:
        yield f"it was acknowledged and has not ended: its record says {state or 'nothing'}"


def _changed(story: Story) -> Iterator[str]:
    """An end is one end: told once, last of all, and the same for whoever asks and whenever."""
    ends = [event for event in story.events if event["state"] in TERMINAL]
    if len(ends) > 1:
        yield f"it ended {len(ends)} times: {', '.join(_told(end) for end in ends)}"
    if ends and story.events[-1] is not ends[-1]:
        yield f"after its end it went on to {_told(story.events[-1])}"
    versions = story.of("outcome") + story.of("record") + story.of("final")
    for name in ("state", "cause", "exit_code", "attempt", "artifact"):
        seen = {entry.get(name) for entry in versions}
        # Another source has other words for "nothing".
        if len({value or None for value in seen}) > 1:
            yield f"its {name} changed after its end, or is told in two ways: {sorted(map(str, seen))}"
    artifact = story.first("log", source="artifact")
    if "told" in artifact:
        for name in ("state", "cause", "exit_code", "attempt"):
            if artifact["told"][name] != story.record.get(name):
                yield f"outcome.json says {name} {artifact['told'][name]}, the record {story.record.get(name)}"


def _history(story: Story) -> Iterator[str]:
    """What has ended is in the history, once, as it ended."""
    rows = story.of("history")
    if not story.acknowledged or story.record.get("state") not in TERMINAL:
        return
    if len(rows) != 1:
        yield f"the history has {len(rows)} rows of it"
    for row in rows:
        for name in ("state", "cause", "exit_code", "attempt"):
            if row[name] != story.record.get(name):
                yield f"the history says {name} {row[name]}, the record {story.record.get(name)}"


def _path(story: Story) -> Iterator[str]:
    """The stream of events walks along the edges of the state machine, and ends where the record stands."""
    state, attempt = "", 0
    for event in story.events:
        if event["state"] not in FOLLOWS.get(state, ()):
            yield f"the events go from {state or 'nothing'} to {_told(event)}"
        if event["state"] == "admitted":
            if event["attempt"] != attempt + 1:
                yield f"attempt {event['attempt']} was admitted after attempt {attempt}"
            attempt = event["attempt"]
        elif event["attempt"] != attempt:
            yield f"an event of attempt {event['attempt']} during attempt {attempt}: {_told(event)}"
        state = event["state"]
    record = story.record.get("state")
    if story.events and record and (state, attempt) != (record, story.record["attempt"]):
        yield f"the events end with {state} of attempt {attempt}, the record says {_told(story.record)}"


def _fenced_accepted(story: Story) -> Iterator[str]:
    """What a job's attempt brings after it went back to the line is nobody's outcome."""
    for before, end in zip(story.events, story.events[1:], strict=False):
        if before["state"] != "waiting" or end["state"] not in TERMINAL:
            continue
        damaged = DAMAGED in str(story.record.get("evidence"))
        if end["cause"] not in IN_LINE or (end["cause"] == "internal" and not damaged):
            yield f"the outcome of attempt {end['attempt']} was accepted while its job waited: {_told(end)}"
        for name in ("exit_code", "artifact"):
            if (found := story.record.get(name)) is not None:
                yield f"it ended in the line, and has the {name} {found} of an attempt that was fenced off"


def _accepted_twice(story: Story) -> Iterator[str]:
    """The same assignment again is the same job, and nothing sensible is refused."""
    for entry in story.of("repeat"):
        if entry.get("code"):
            yield f"sent again after its acknowledgement it was refused: {entry['code']} {entry['words']}"
        elif entry["created"]:
            yield "sent again after its acknowledgement it was made anew"
    for entry in story.of("refused"):
        if entry["code"] not in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"):
            yield f"a sound assignment was refused: {entry['code']} {entry['words']}"


def _stop_ignored(story: Story) -> Iterator[str]:
    """A job whose stop was accepted makes no further attempt."""
    for asked in story.of("cancel answer", accepted=True):
        later = [e for e in story.events if e["state"] == "admitted" and e["t"] > asked["t"] + SLACK]
        if later:
            yield f"attempt {later[0]['attempt']} was admitted after the stop was accepted"
        if asked["state"] in TERMINAL and story.record.get("state") not in (None, asked["state"]):
            yield f"the stop was answered with {asked['state']}, the record says {_told(story.record)}"


# --- causes -----------------------------------------------------------------------------------------------


def _cause(story: Story) -> Iterator[str]:
    """The cause is the true one, and nobody is blamed for the nemesis."""
    yield from causes.complaints(story)


def _told(entry: Entry) -> str:
    cause = f" ({entry['cause']})" if entry.get("cause") else ""
    return f"{entry.get('state')} of attempt {entry.get('attempt')}{cause}"


RULES = (
    _lost, _changed, _history, _path, _fenced_accepted, _accepted_twice, _stop_ignored, _cause,
    containers.started_twice, containers.alive_twice, containers.left_alive, containers.away, containers.after_the_end,
    containers.late, containers.engines_word, kept.log, kept.not_kept,
)  # fmt: skip
