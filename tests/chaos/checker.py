"""The judge of a campaign: what was promised against what was seen. Pure: entries in, violations out.

It believes the kernel (pidfds), the runtime's own notes and what jobs told the witness; what the site says of itself is
held against those, and against what it said before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from hivemind_worker.killpoints import POINTS
from tests.chaos import causes, logs
from tests.chaos.journal import Entry
from tests.chaos.story import TERMINAL, Life, Story, stories

#: seconds by which clocks of hundredths, and a note written after the deed, may be off
SLACK = 0.05
#: minutes of a campaign in which every kill point must have had its turn
ALL_POINTS_IN = 10
#: lines of a stream that an engine may have read and not written when it ended: of a program that pauses after each,
#: and of one that does not, for which they fill its pipe (64 KiB of `o 1 12345`)
IN_FLIGHT, IN_FLIGHT_LOUD = 8, 6_600
#: which state may follow which
FOLLOWS: dict[str, tuple[str, ...]] = {
    "": ("waiting",),
    "waiting": ("admitted", *TERMINAL),
    "admitted": ("preparing", "waiting", *TERMINAL),
    "preparing": ("running", "collecting", "waiting", *TERMINAL),
    "running": ("collecting", "waiting", *TERMINAL),
    "collecting": ("waiting", *TERMINAL),
}


@dataclass(frozen=True)
class Violation:
    """One promise that was not kept. `job` may be empty."""

    rule: str
    job: str
    words: str


def _missed(entries: list[Entry]) -> Iterator[Violation]:
    """A campaign of some length kills at every kill point, or it has not shown what it is to show."""
    terms = next((entry for entry in entries if entry["kind"] == "campaign"), {})
    if terms.get("minutes", 0) < ALL_POINTS_IN or terms.get("calm"):
        return
    hit = {entry["name"] for entry in entries if entry["kind"] == "point" and entry["action"] == "kill"}
    for name in POINTS:
        if name not in hit:
            yield Violation("missed", "", f"nothing was killed at the point {name}")


def check(entries: Iterable[Entry]) -> list[Violation]:
    """All violations in a journal, by rule and job."""
    entries = list(entries)
    found: list[Violation] = []
    told = stories(entries)
    for story in told.values():
        for rule in RULES:
            found += [Violation(rule.__name__.removeprefix("_"), story.job, words) for words in rule(story)]
    found += _oversubscribed(entries, told.values())
    found += _missed(entries)
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


# --- containers ---------------------------------------------------------------------------------------------


def _started_twice(story: Story) -> Iterator[str]:
    """A container is started at most once for each attempt."""
    attempts: dict[int, list[Life]] = {}
    for life in story.lives:
        attempts.setdefault(life.attempt, []).append(life)
        if life.starts > 1:
            yield f"the container of attempt {life.attempt} was started {life.starts} times"
    for attempt, mine in attempts.items():
        if len(mine) > 1:
            yield f"attempt {attempt} had {len(mine)} containers"
    nonces: dict[int, set[str]] = {}
    for entry in story.of("witness", what="start"):
        nonces.setdefault(entry["attempt"], set()).add(entry["nonce"])
    for attempt, seen in nonces.items():
        if len(seen) > 1:
            yield f"the program of attempt {attempt} ran {len(seen)} times"


def _alive_twice(story: Story) -> Iterator[str]:
    """A further attempt starts only when the one before is dead, or was fenced off because its node is lost."""
    for one, other in zip(story.lives, story.lives[1:], strict=False):
        if one.ended is not None and one.ended <= other.started + SLACK:
            continue
        fenced = any(
            event["state"] == "waiting" and event["attempt"] == one.attempt and event["cause"] == "node_lost"
            for event in story.events
        )
        if not fenced or one.node == other.node:
            gone = (
                "it was never seen to end" if one.ended is None else f"it ended {one.ended - other.started:.2f} s later"
            )
            yield (
                f"attempt {other.attempt} started on {other.node} while attempt {one.attempt} was alive on {one.node} "
                f"and not fenced off; {gone}"
            )


def _away(story: Story) -> Iterator[str]:
    """What needs its bundle or its secrets runs at home; when that is lost, it waits for it."""
    home = story.order.get("home")
    for life in story.lives:
        if home and life.node != home:
            yield f"attempt {life.attempt} ran on {life.node}, but its home is {home}"


def _fenced_accepted(story: Story) -> Iterator[str]:
    """The accepted outcome is the newest attempt's, and nothing runs after the end."""
    accepted = story.record.get("attempt")
    newest = max((life.attempt for life in story.lives), default=0)
    if accepted is not None and newest > accepted:
        yield f"the outcome of attempt {accepted} was accepted although attempt {newest} was started"
    end = next((event["t"] for event in story.events if event["state"] in TERMINAL), None)
    for life in story.lives:
        if end is not None and life.attempt >= (accepted or 0) and life.started > end + SLACK:
            yield f"attempt {life.attempt} was started {life.started - end:.2f} s after the job's end"


def _left_alive(story: Story) -> Iterator[str]:
    """Nothing runs on when all is at rest."""
    for life in story.lives:
        if life.ended is None:
            yield f"the program of attempt {life.attempt} on {life.node} was never seen to end"


def _oversubscribed(entries: list[Entry], told: Iterable[Story]) -> Iterator[Violation]:
    """The caps of the containers that live on a node never exceed what it lends."""
    terms = next((entry for entry in entries if entry["kind"] == "campaign"), None)
    if terms is None:
        return
    by_node: dict[str, list[Life]] = {}
    for story in told:
        for life in story.lives:
            by_node.setdefault(life.node, []).append(life)
    last = entries[-1]["t"]
    for node, lives in by_node.items():
        marks = [(life.started + SLACK, 1, life) for life in lives]
        marks += [((last if life.ended is None else life.ended), 0, life) for life in lives]
        alive: set[Life] = set()
        worst: dict[str, tuple[float, int, list[Life]]] = {}
        for t, begins, life in sorted(marks, key=lambda mark: (mark[0], mark[1])):
            if not begins:
                alive.discard(life)
                continue
            if life.ended is None or life.ended > t:
                alive.add(life)
            sums = {
                "millicores": sum(one.millicores for one in alive),
                "memory": sum(one.memory for one in alive),
                "slots": len(alive),
            }
            for name, used in sums.items():
                if used > terms[name] and used > worst.get(name, (0.0, 0, []))[1]:
                    worst[name] = (t, used, list(alive))
        for name, (t, used, holders) in worst.items():
            who = ", ".join(f"{one.job}-{one.attempt}" for one in sorted(holders, key=lambda one: one.started))
            newest = max(holders, key=lambda one: one.started)
            yield Violation(
                "oversubscribed", newest.job, f"{node} at {t:.2f} s ran {used} of {terms[name]} {name}: {who}"
            )


# --- logs ---------------------------------------------------------------------------------------------------


def _log(story: Story) -> Iterator[str]:
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
        passed_on = logs.passed_on(items)
        if passed_on and not in_flight:
            yield f"{source}: it says that another engine followed while it ran, and none did"
        printed = max((end["lines"] for end in story.ends(accepted)), default=0)
        reached = logs.reach(items, accepted)
        streams = {"o": "stdout"} if story.order.get("what") == "loud" else {"o": "stdout", "e": "stderr"}
        for stream, name in streams.items():
            complete = reached[stream] + (in_flight if accepted in passed_on else 0) >= printed
            if not complete and not logs.has_gap(items) and not entry.get("truncated"):
                yield (
                    f"{source}: {name} of attempt {accepted} ends with line {reached[stream]}, the job printed "
                    f"{printed}, and no mark"
                )


def _pardoned(item: list[object], truncated: bool) -> bool:
    """A job's own complaint about a disk that the nemesis filled; a line cut in a log that is said to be cut."""
    return (item[0] == "junk" and "No space left" in str(item[1])) or (item[0] == "torn" and truncated)


def _cause(story: Story) -> Iterator[str]:
    """The cause is the true one, and nobody is blamed for the nemesis."""
    yield from causes.complaints(story)


def _told(entry: Entry) -> str:
    cause = f" ({entry['cause']})" if entry.get("cause") else ""
    return f"{entry.get('state')} of attempt {entry.get('attempt')}{cause}"


RULES = (
    _lost, _changed, _history, _path, _accepted_twice, _stop_ignored, _started_twice, _alive_twice,
    _left_alive, _away, _fenced_accepted, _log, _cause,
)  # fmt: skip
