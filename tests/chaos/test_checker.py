"""The checker on journals made by hand: a sound one passes, and each kind of harm turns it red by its own rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos import logs
from tests.chaos.checker import check
from tests.chaos.journal import Entry
from tests.chaos.witness import facts

#: what belongs to a container, as the OCI bundle tells it
ABOUT = {"job": "j", "attempt": 1, "node": "n1", "millicores": 500, "memory": 100, "container": "c1"}


def event(t: float, number: int, state: str, attempt: int = 1, cause: str = "", job: str = "j") -> Entry:
    said = {"id": f"{number}-0", "job": job, "state": state, "attempt": attempt, "cause": cause}
    return {"t": t, "kind": "event", "worker": "w", "node": "n1", **said}


def container(begin: float, end: float | None, **about: Any) -> list[Entry]:
    """A container's life as runtime and kernel tell it."""
    what = ABOUT | about
    calls = [("create", begin - 0.2), ("created", begin - 0.1), ("start", begin), ("started", begin + 0.1)]
    found: list[Entry] = [{"t": t, "kind": "runtime", "verb": verb, **what} for verb, t in calls]
    if end is not None:
        found += [{"t": end, "kind": "exit", **what}, {"t": end + 0.1, "kind": "runtime", "verb": "delete", **what}]
    return found


def program(begin: float, end: float, attempt: int = 1, code: int = 0, nonce: str = "a", lines: int = 3) -> list[Entry]:
    """What a program tells the witness."""
    same = {"kind": "witness", "job": "j", "attempt": attempt, "nonce": nonce}
    return [
        {"t": begin, "what": "start", "code": 0, "lines": 0, **same},
        {"t": end, "what": "end", "code": code, "lines": lines, **same},
    ]


def told(kind: str, **fields: Any) -> Entry:
    """The outcome as one of those that tell it."""
    said = {"state": "completed", "cause": "ok", "exit_code": 0, "attempt": 1, "artifact": "f" * 64, "evidence": "it"}
    return {"t": 9.0, "kind": kind, "job": "j", **said, **fields}


def sound() -> list[Entry]:
    """One job that was accepted, ran and completed."""
    order = {"what": "quick", "lines": 3, "code": 0, "timeout": 60.0, "retries": 0, "cancel": False}
    items = [["o", 1, 1, 3], ["e", 1, 1, 3]]
    ended = {"task_id": "j", "attempt": 1, "state": "completed", "cause": "ok", "exit_code": 0}
    return [
        {"t": 0.0, "kind": "campaign", "millicores": 1000, "memory": 200, "slots": 2},
        {"t": 0.0, "kind": "submit", "job": "j", **order},
        {"t": 0.1, "kind": "ack", "job": "j", "created": True, "state": "waiting"},
        event(0.1, 1, "waiting", 0),
        event(0.2, 2, "admitted"),
        event(0.3, 3, "preparing"),
        *container(1.0, 5.0),
        *program(1.0, 4.9),
        event(1.1, 4, "running"),
        event(5.1, 5, "collecting"),
        event(5.2, 6, "completed", cause="ok"),
        told("outcome"),
        told("record"),
        told("final"),
        {"t": 9.1, "kind": "log", "job": "j", "source": "stream", "items": items, "wrong": []},
        {"t": 9.1, "kind": "log", "job": "j", "source": "artifact", "items": items, "told": ended},
        told("history"),
        {"t": 9.2, "kind": "clean", "after": 0.0, "left": 0},
    ]


def rules(entries: list[Entry]) -> set[str]:
    return {violation.rule for violation in check(sorted(entries, key=lambda entry: float(entry["t"])))}


def without(kind: str, **given: Any) -> list[Entry]:
    """The sound journal less some entries."""
    return [entry for entry in sound() if entry["kind"] != kind or any(entry.get(k) != v for k, v in given.items())]


def altered(kind: str, change: Callable[[Entry], Entry], **given: Any) -> list[Entry]:
    """The sound journal with some entries changed."""
    return [
        change(entry) if entry["kind"] == kind and all(entry.get(k) == v for k, v in given.items()) else entry
        for entry in sound()
    ]


def test_a_sound_journal_passes() -> None:
    assert check(sound()) == []


SECOND = [
    event(5.2, 6, "waiting", cause="engine"),
    event(5.3, 7, "admitted", 2),
    event(5.4, 8, "preparing", 2),
    event(6.1, 9, "running", 2),
    event(7.1, 10, "collecting", 2),
    event(7.2, 11, "completed", 2, cause="ok"),
]
FIRST = [entry for entry in without("event") if entry["kind"] != "witness"]
HARM: dict[str, tuple[str, list[Entry]]] = {
    "an acknowledgement that is lost": ("lost", without("record")),
    "a job that never ends": ("lost", altered("record", lambda e: e | {"state": "running", "cause": None})),
    "an end that is told twice": ("changed", [*sound(), event(6.0, 7, "completed", cause="ok")]),
    "a job that is run again after its end": ("changed", [*sound(), event(6.0, 7, "admitted", 2)]),
    "an outcome that changes": ("changed", altered("record", lambda e: e | {"exit_code": 3})),
    "a door that tells another outcome": ("changed", altered("final", lambda e: e | {"cause": "exit"})),
    "an artifact that tells another outcome": (
        "changed",
        altered("log", lambda e: e | {"told": e["told"] | {"attempt": 2}}, source="artifact"),
    ),
    "a job that the history does not know": ("history", without("history")),
    "a history that knows it otherwise": ("history", altered("history", lambda e: e | {"exit_code": 1})),
    "an edge that is not one": ("path", without("event", state="admitted")),
    "an event of a fenced attempt": ("path", altered("event", lambda e: e | {"attempt": 0}, state="running")),
    "events that end elsewhere than the record": ("path", without("event", state="completed")),
    "a second acceptance": ("accepted_twice", [*sound(), {"t": 1.0, "kind": "repeat", "job": "j", "created": True}]),
    "a sound assignment refused": (
        "accepted_twice",
        [*sound(), {"t": 0.05, "kind": "refused", "job": "j", "code": "UNKNOWN", "words": "?"}],
    ),
    "a second container of an attempt": (
        "started_twice",
        [*sound(), *container(2.0, 3.0, container="c2")],
    ),
    "a container that is started again": (
        "started_twice",
        [*sound(), {"t": 6.0, "kind": "runtime", "verb": "started", **ABOUT}],
    ),
    "a program that ran twice": ("started_twice", [*sound(), *program(5.5, 5.6, nonce="b")]),
    "an attempt beside one that lives": (
        "alive_twice",
        [*FIRST, *SECOND, *container(4.0, 7.0, container="c2", attempt=2), event(0.2, 2, "admitted")],
    ),
    "a bundle's job away from its home": ("away", altered("submit", lambda e: e | {"home": "n2"})),
    "the outcome of an older attempt": ("fenced_accepted", [*sound(), *container(6.0, 7.0, container="c2", attempt=2)]),
    "a start after the end": ("fenced_accepted", [*sound(), *container(6.0, 7.0, container="c2")]),
    "a line that is missing": (
        "log",
        altered("log", lambda e: e | {"items": [["o", 1, 1, 1], ["o", 1, 3, 3], ["e", 1, 1, 3]]}, source="stream"),
    ),
    "a line that comes twice": (
        "log",
        altered("log", lambda e: e | {"items": [["o", 1, 1, 3], ["o", 1, 3, 3], ["e", 1, 1, 3]]}, source="artifact"),
    ),
    "an end of a log that is missing": (
        "log",
        altered("log", lambda e: e | {"items": [["o", 1, 1, 3], ["e", 1, 1, 2]]}, source="stream"),
    ),
    "a chunk that is missing": (
        "log",
        altered("log", lambda e: e | {"wrong": ["chunk 3 after chunk 1"]}, source="stream"),
    ),
    "another attempt's line in the artifact": (
        "log",
        altered("log", lambda e: e | {"items": [["o", 2, 1, 1], *e["items"]]}, source="artifact"),
    ),
    "a good end that never was": ("cause", [e for e in sound() if e["kind"] != "witness"]),
    "a kill of ours that is called the job's own": (
        "cause",
        [
            e if e["kind"] not in ("record", "outcome", "final") else e | {"cause": "exit", "exit_code": 137}
            for e in sound()
        ],
    ),
    "a stop that nobody asked for": ("cause", altered("record", lambda e: e | {"cause": "cancelled"})),
    "a timeout that came early": ("cause", altered("record", lambda e: e | {"cause": "timeout"})),
    "a job given up early": ("cause", altered("record", lambda e: e | {"cause": "engine"})),
    "a container that is left": ("left", [*sound(), {"t": 9.3, "kind": "left", "what": "container", "name": "hm-j-1"}]),
    "a program that runs on": (
        "left_alive",
        [e for e in sound() if e["kind"] not in ("exit", "witness") and e.get("verb") != "delete"],
    ),
    "a stop that is ignored": (
        "stop_ignored",
        [
            *sound(),
            {"t": 0.12, "kind": "cancel answer", "job": "j", "accepted": True, "state": "waiting"},
        ],
    ),
    "a kill point that had no turn": ("missed", altered("campaign", lambda e: e | {"minutes": 60})),
    "more than a node lends": (
        "oversubscribed",
        [*sound(), *container(2.0, 3.0, container="c2", job="k", millicores=600)],
    ),
    "more jobs than slots": (
        "oversubscribed",
        [
            *sound(),
            *container(2.0, 3.0, container="c2", job="k", millicores=1, memory=1),
            *container(2.1, 3.0, container="c3", job="l", millicores=1, memory=1),
        ],
    ),
}


@pytest.mark.parametrize("harm", HARM)
def test_harm_turns_it_red(harm: str) -> None:
    rule, entries = HARM[harm]
    assert rule in rules(entries)


def test_an_attempt_may_run_beside_one_that_was_fenced_off_with_its_node() -> None:
    lost = [event(5.2, 6, "waiting", cause="node_lost") if e["id"] == "6-0" else e for e in SECOND]
    first = [
        e for e in sound() if e["kind"] == "event" and e["state"] in ("waiting", "admitted", "preparing", "running")
    ]
    there = container(4.0, 7.0, container="c2", attempt=2, node="n2")
    assert "alive_twice" not in rules([*FIRST, *first, *lost, *there])


def test_a_bundles_job_whose_node_is_lost_waits_for_it_and_runs_there_again() -> None:
    lost = [event(5.2, 6, "waiting", cause="node_lost") if e["id"] == "6-0" else e for e in SECOND]
    first = [
        e for e in sound() if e["kind"] == "event" and e["state"] in ("waiting", "admitted", "preparing", "running")
    ]
    at_home = [e | {"home": "n1"} if e["kind"] == "submit" else e for e in FIRST]
    again = container(6.0, 7.0, container="c2", attempt=2)
    assert not {"away", "alive_twice"} & rules([*at_home, *first, *lost, *again])
    elsewhere = container(6.0, 7.0, container="c2", attempt=2, node="n2")
    assert "away" in rules([*at_home, *first, *lost, *elsewhere])


def test_a_gap_that_is_marked_is_no_loss() -> None:
    items = [
        ["o", 1, 1, 2],
        ["gap", "[hivemind] 20 bytes of output are missing here"],
        ["o", 1, 9, 12],
        ["e", 1, 1, 12],
    ]
    assert logs.complaints(items, 1) == []
    assert logs.complaints([item for item in items if item[0] != "gap"], 1) != []


def test_a_few_lines_that_an_engine_took_along_are_forgiven_where_its_end_is_marked() -> None:
    word = ["gap", f"[hivemind] the container {logs.PASSED_ON}: …"]
    lost = [["e", 1, 1, 96], ["e", 1, 98, 338], ["o", 1, 1, 338], word]
    assert logs.complaints(lost, 1, in_flight=8) == []
    assert logs.complaints(lost, 1) != [], "no engine ended"
    assert logs.complaints(lost[:-1], 1, in_flight=8) != [], "no mark"
    assert logs.complaints([["e", 1, 1, 96], ["e", 1, 106, 338], word], 1, in_flight=8) != [], "too many"
    assert logs.complaints([word, ["e", 1, 1, 96], ["e", 1, 98, 338]], 1, in_flight=8) != [], "the mark was before"
    assert logs.complaints([word, ["e", 2, 5, 96]], in_flight=8) != [], "it is not of this attempt"
    other = [["o", 1, 1, 10], ["o", 1, 19, 30], ["o", 2, 1, 30], word]
    assert logs.complaints(other, in_flight=8) != [], "it is of the next attempt"
    assert logs.complaints([["junk", "x"]] * 3 + [["o", 1, 1, 9], word], 1, in_flight=8) != [], "too much rubbish"


@pytest.mark.parametrize(("what", "printed"), [("quick", 30), ("loud", 9_000)])
def test_more_than_was_on_its_way_is_not_forgiven_to_an_engine_that_ended(what: str, printed: int) -> None:
    word = ["gap", f"[hivemind] the container {logs.PASSED_ON}: …"]
    ended: Entry = {"t": 2.0, "kind": "kill", "process": "engine", "pid": 1}
    many = [e if e["kind"] != "witness" or e["what"] != "end" else e | {"lines": printed} for e in sound()]
    many = [e if e["kind"] != "submit" else e | {"what": what} for e in many]
    short = [e if e["kind"] != "log" else e | {"items": [*e["items"], word]} for e in many]
    assert rules([*short, ended]) == {"log"}


def test_a_word_of_another_engine_where_none_followed_is_untrue() -> None:
    word = ["gap", f"[hivemind] the container {logs.PASSED_ON}: …"]
    told = altered("log", lambda e: e | {"items": [*e["items"], word]}, source="stream")
    assert rules(told) == {"log"}
    ended: Entry = {"t": 2.0, "kind": "kill", "process": "engine", "pid": 1}
    assert rules([*told, ended]) == set()


def test_a_log_is_read_in_runs_whatever_the_pieces() -> None:
    reader = logs.LogReader()
    for stream, data in (
        ("stdout", b"o 1 1\no 1 "), ("stderr", b"e 1 1\n"), ("stdout", b"2\no 1 3\n"), ("notice", b"[hivemind] gap\n"),
        ("stdout", b"o 1 7\nodd\n"),
    ):  # fmt: skip
        reader.feed(stream, data)
    assert reader.end() == [
        ["o", 1, 1, 3], ["e", 1, 1, 1], ["gap", "[hivemind] gap"], ["o", 1, 7, 7], ["junk", "stdout: odd"],
    ]  # fmt: skip


def test_a_container_is_known_by_what_the_engine_asked_of_the_kernel() -> None:
    config = {
        "process": {"env": ["TASK_ID=j", "HIVEMIND_ATTEMPT=2"]},
        "linux": {"resources": {"cpu": {"quota": 25000, "period": 100000}, "memory": {"limit": 64}}},
        "mounts": [{"destination": "/workspace", "source": "/x/n2/workspaces/j-2/work"}],
    }
    assert facts(config) == {"millicores": 250, "memory": 64, "node": "n2", "job": "j", "attempt": 2}
