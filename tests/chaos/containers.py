"""What containers did, as kernel, runtime and engine saw it, against what was promised of attempts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.chaos.faults import apart_from
from tests.chaos.journal import Entry
from tests.chaos.story import TERMINAL, Life, Story, Violation

#: seconds by which clocks of hundredths, and a note written after the deed, may be off
SLACK = 0.05
#: seconds that a job asked to stop is given (jobs.GRACE), and that it may run on beyond that, or beyond its timeout,
#: while nothing keeps its node's workers from their work; and at most, whatever does: one fault may follow another
GRACE, LATE, AT_ALL = 1.0, 15.0, 120.0
#: what an engine says of a program that ended while no engine saw it
UNSEEN = 255


def started_twice(story: Story) -> Iterator[str]:
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


def alive_twice(story: Story) -> Iterator[str]:
    """A further attempt starts only when all before are dead, or were fenced off because their node is lost."""
    lost = {e["attempt"] for e in story.events if e["state"] == "waiting" and e["cause"] == "node_lost"}
    for at, other in enumerate(story.lives):
        for one in story.lives[:at]:
            if one.ended is not None and one.ended <= other.started + SLACK:
                continue
            if one.attempt in lost and one.node != other.node:
                continue
            gone = (
                "it was never seen to end" if one.ended is None else f"it ended {one.ended - other.started:.2f} s later"
            )
            yield (
                f"attempt {other.attempt} started on {other.node} while attempt {one.attempt} was alive on {one.node} "
                f"and not fenced off; {gone}"
            )


def away(story: Story) -> Iterator[str]:
    """What needs its bundle or its secrets runs at home; when that is lost, it waits for it."""
    home = story.order.get("home")
    for life in story.lives:
        if home and life.node != home:
            yield f"attempt {life.attempt} ran on {life.node}, but its home is {home}"


def after_the_end(story: Story) -> Iterator[str]:
    """The accepted outcome is the newest attempt's, and nothing runs after the end."""
    accepted = story.record.get("attempt")
    newest = max((life.attempt for life in story.lives), default=0)
    if accepted is not None and newest > accepted:
        yield f"the outcome of attempt {accepted} was accepted although attempt {newest} was started"
    end = next((event["t"] for event in story.events if event["state"] in TERMINAL), None)
    for life in story.lives:
        if end is not None and life.attempt >= (accepted or 0) and life.started > end + SLACK:
            yield f"attempt {life.attempt} was started {life.started - end:.2f} s after the job's end"


def left_alive(story: Story) -> Iterator[str]:
    """Nothing runs on when all is at rest."""
    for life in story.lives:
        if life.ended is None:
            yield f"the program of attempt {life.attempt} on {life.node} was never seen to end"


def late(story: Story) -> Iterator[str]:
    """A timeout counts from the real start, whoever watches; a stop that was accepted is carried out."""
    asked = min((answer["t"] for answer in story.of("cancel answer", accepted=True)), default=float("inf"))
    for life in story.lives:
        allowed = life.started + story.order.get("timeout", float("inf"))
        due = min(allowed, max(life.started, asked) + GRACE)
        if life.ended is None or life.ended <= due:
            continue
        free = apart_from(story.hindered.get(life.node, ()), due, life.ended)
        if free > LATE or life.ended - due > AT_ALL:
            what = "its timeout" if due == allowed else "its stop was accepted"
            yield (
                f"attempt {life.attempt} ran on for {life.ended - due:.1f} s after {what}, and for {free:.1f} s of "
                "them nothing kept anybody from ending it"
            )


def engines_word(story: Story) -> Iterator[str]:
    """The engine saw no container start that the witness did not, and no other end than the one that is recorded."""
    seen = {entry["container"] for entry in story.of("runtime", verb="start")}
    for entry in story.of("engine", action="start"):
        if entry["container"] not in seen:
            yield f"the engine started a container of attempt {entry['attempt']}, and the witness saw no start of it"
    code, attempt = story.record.get("exit_code"), story.record.get("attempt")
    ends = {int(e["exitCode"]) for e in story.of("engine", action="die", attempt=attempt) if "exitCode" in e}
    if code is not None and ends and not ends & {code, UNSEEN}:
        yield f"exit code {code}, but the engine saw attempt {attempt} end with {', '.join(map(str, sorted(ends)))}"


def undead(entries: Iterable[Entry]) -> Iterator[Violation]:
    """A container's first process is there from its creation: of each that was made an end is seen, started or not."""
    made: dict[str, Entry] = {}
    for entry in entries:
        if entry["kind"] == "runtime" and entry["verb"] == "created":
            made.setdefault(entry["container"], entry)
        elif entry["kind"] == "exit" or (entry["kind"] == "runtime" and entry["verb"] == "delete"):
            made.pop(entry["container"], None)
    for container, entry in made.items():
        yield Violation("undead", entry.get("job", ""), f"the first process of {container[:12]} was never seen to end")


def oversubscribed(entries: list[Entry], told: Iterable[Story]) -> Iterator[Violation]:
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
