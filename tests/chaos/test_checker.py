"""The checker on journals made by hand: a sound one passes, and each kind of harm turns it red by its own rule."""

from __future__ import annotations

import pytest

from hivemind_worker.killpoints import POINTS, RARE
from tests.chaos import logs
from tests.chaos.checker import check
from tests.chaos.journal import Entry
from tests.chaos.journals import (
    ABOUT,
    ARTIFACT,
    FIRST,
    GONE,
    LINES,
    SECOND,
    altered,
    container,
    event,
    fault,
    in_line,
    overdue,
    program,
    retried,
    rules,
    sound,
    without,
)  # fmt: skip
from tests.chaos.witness import facts

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
    "the outcome of an older attempt": ("after_the_end", [*sound(), *container(6.0, 7.0, container="c2", attempt=2)]),
    "a start after the end": ("after_the_end", [*sound(), *container(6.0, 7.0, container="c2")]),
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
    "the outcome of an attempt that was fenced off with its node": ("fenced_accepted", in_line("node_lost", "ok")),
    "the outcome of an attempt that was given back": ("fenced_accepted", in_line("engine", "exit", "failed")),
    "the failure of an attempt that was given back": ("fenced_accepted", in_line("engine", "internal", "failed")),
    "the exit code of an attempt that was fenced off": (
        "fenced_accepted",
        in_line("node_lost", "cancelled", "stopped", exit_code=143, artifact=None),
    ),
    "an end well without any attempt": (
        "path",
        [*(e for e in sound() if e["kind"] != "event" or e["id"] == "1-0"), event(5.2, 6, "completed", 0, cause="ok")],
    ),
    "logs that nobody read": ("not_kept", without("log")),
    "an artifact that nobody read": ("not_kept", without("log", **ARTIFACT)),
    "an artifact that cannot be had": ("not_kept", altered("log", lambda e: e | GONE, **ARTIFACT)),
    "an artifact that was never made": (
        "not_kept",
        [
            e | {"artifact": None} if e["kind"] in ("record", "outcome", "final") else e
            for e in altered("log", lambda e: e | GONE, **ARTIFACT)
        ],
    ),
    "an artifact of other bytes": ("not_kept", altered("log", lambda e: e | {"sha256": "0" * 64}, **ARTIFACT)),
    "another job's artifact": (
        "not_kept",
        altered("log", lambda e: e | {"told": e["told"] | {"task_id": "k"}}, **ARTIFACT),
    ),
    "an artifact with a name twice": ("not_kept", altered("log", lambda e: e | {"twice": True}, **ARTIFACT)),
    "an artifact without the result": ("not_kept", altered("log", lambda e: e | {"result": None}, **ARTIFACT)),
    "another attempt's result": ("not_kept", altered("log", lambda e: e | {"result": "result 2 3\n"}, **ARTIFACT)),
    "a zip that is damaged": ("lost", [*sound(), {"t": 9.0, "kind": "unread", "job": "j", "code": "X", "words": ""}]),
    "an end of an earlier attempt's log that is missing": ("log", retried([*LINES[1], *LINES[2]], 30)),
    "an earlier attempt's log that is missing": ("log", retried(LINES[2], 30)),
    "an end that is missing before a gap of the next attempt": (
        "log",
        retried(
            [*LINES[1], ["o", 2, 1, 1], ["gap", "[hivemind] 9 bytes are missing here"], ["o", 2, 2, 3], ["e", 2, 1, 3]],
            30,
        ),
    ),
    "an end that is missing beside a word of something else": (
        "log",
        altered(
            "log",
            lambda e: e | {"items": [["gap", "[hivemind] the log nears its cap"], ["o", 1, 1, 1], ["e", 1, 1, 3]]},
            source="stream",
        ),
    ),
    "a lane of the nemesis that ended": ("broke", [*sound(), *fault("cut", 1.0, 2.0, broke="OSError: x")]),
    "an observer that is gone": ("broke", [*sound(), {"t": 1.0, "kind": "broke", "who": "witness", "why": "x"}]),
    "a program whose container could not be deleted": (
        "left_alive",
        [
            e | {"verb": "undeleted"} if e.get("verb") == "delete" else e
            for e in sound()
            if e["kind"] not in ("exit", "witness")
        ],
    ),
    "a container that was made, never started, and is never seen to end": (
        "undead",
        [*sound(), *(e for e in container(2.0, None, container="c2") if e["verb"] in ("create", "created"))],
    ),
    "a timeout that is kept late": ("late", overdue("timeout", 16.0)),
    "a timeout that began again when the job was taken up again": (
        "late",
        [
            *(e if e["kind"] != "submit" else e | {"timeout": 30.0} for e in overdue("timeout", 50.0)),
            {"t": 25.0, "kind": "kill", "process": "worker@n1", "pid": 1},
        ],
    ),
    "a stop that is carried out late": ("late", overdue("stop", 16.0)),
    "a timeout that is kept late, whatever was the matter": (
        "late",
        [*overdue("timeout", 604.0), *fault("freeze engine", 2.0, 605.0)],
    ),
    "an attempt beside the one before the last": (
        "alive_twice",
        [
            *(e for e in FIRST if e.get("container") != "c1"),
            event(5.2, 6, "waiting", cause="node_lost"),
            *container(1.0, 8.0),
            *container(5.5, 5.6, container="c2", attempt=2, node="n2"),
            *container(5.7, 7.0, container="c3", attempt=3),
        ],
    ),
    "a container that only the engine knows": (
        "engines_word",
        [*sound(), {"t": 1.0, "kind": "engine", "action": "start", "container": "c9", "job": "j", "attempt": 1}],
    ),
    "an exit code that the engine saw otherwise": (
        "engines_word",
        [
            *sound(),
            {"t": 5.0, "kind": "engine", "action": "die", "container": "c1", "job": "j", "attempt": 1, "exitCode": "3"},
        ],
    ),
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


def test_a_sound_journal_passes() -> None:
    assert check(sound()) == []


def test_every_kill_point_needs_a_kill_of_the_process_that_is_there() -> None:
    long = altered("campaign", lambda e: e | {"minutes": 10})
    points: list[Entry] = [
        {"t": 1.0, "kind": "point", "action": "kill", "name": name, "process": "n2"} for name in POINTS
    ]
    assert "missed" not in rules([*long, *points])
    for name in RARE:
        struck = [e | {"action": "freeze"} if e["name"] == name else e for e in points]
        assert "missed" in rules([*long, *struck]), name


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


def test_what_the_nemesis_kept_from_being_ended_is_not_late() -> None:
    assert "late" not in rules([*overdue("timeout", 60.0), *fault("freeze engine", 5.0, 60.0)])
    assert "late" not in rules(overdue("timeout", 10.0))
    assert "late" in rules([*overdue("timeout", 60.0), *fault("cut long", 5.0, 60.0, target="n2")]), "another node's"


def test_a_job_may_end_in_the_line_by_a_stop_or_for_a_record_that_is_damaged() -> None:
    nothing: Entry = {"exit_code": None, "artifact": None}
    stopped = in_line("node_lost", "cancelled", "stopped", **nothing)
    damaged = in_line("node_lost", "internal", "failed", evidence="its record was damaged (x) and is kept", **nothing)
    for journal in (stopped, damaged):
        assert not {"path", "fenced_accepted"} & rules(journal)


def test_a_job_that_no_worker_saw_end_has_no_artifact() -> None:
    gone = {"state": "failed", "cause": "node_lost", "artifact": None, "evidence": "node n1 was not heard of for 20 s"}
    lost = [
        e | GONE if e["kind"] == "log" and e["source"] == "artifact"
        else e | gone if e["kind"] in ("record", "outcome", "final") else e
        for e in sound()
    ]  # fmt: skip
    assert "not_kept" not in rules(lost)


def test_a_result_that_a_full_disk_took_is_forgiven() -> None:
    cut = altered("log", lambda e: e | {"result": ""}, **ARTIFACT)
    assert "not_kept" not in rules([*cut, *fault("disk full", 4.0, 6.0)])
    assert "not_kept" in rules([*cut, *fault("disk full", 4.0, 6.0, target="n2")]), "another node's"
    assert "not_kept" in rules([*cut, *fault("disk full", 5.5, 6.0)]), "after its end"


def test_an_end_that_is_marked_where_it_is_missing_is_no_loss() -> None:
    word = ["gap", "[hivemind] node n1 was lost: what attempt 1 wrote since is missing here"]
    assert "log" not in rules(retried([*LINES[1], word, *LINES[2]], 30))
    assert "log" not in rules(retried([word, *LINES[2]], 30))
    assert "log" in rules(retried([word, *LINES[1], *LINES[2]], 30)), "the mark was before"


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


def test_a_gap_may_cut_the_next_line_in_half_and_no_other() -> None:
    cut = ["gap", "[hivemind] the rest of this file could not be written; the live log has its end"]
    lines = [["o", 1, 1, 1943], ["e", 1, 1, 7]]
    assert logs.complaints([*lines, ["junk", "both: o 1 "], cut], 1) == []
    assert logs.complaints([*lines, ["junk", "both: e 1 8"], cut], 1) == []
    assert logs.complaints([*lines, ["junk", "both: o 1 "]], 1) != [], "no gap"
    assert logs.complaints([*lines, ["junk", "both: o 1 3"], cut], 1) != [], "another line's"
    assert logs.complaints([*lines, ["junk", "both: o 1 "], ["gap", "[hivemind] near its cap"]], 1) != [], "no such gap"


@pytest.mark.parametrize(("what", "printed"), [("quick", 30), ("loud", 9_000)])
def test_more_than_was_on_its_way_is_not_forgiven_to_an_engine_that_ended(what: str, printed: int) -> None:
    word = ["gap", f"[hivemind] the container {logs.PASSED_ON}: …"]
    ended: Entry = {"t": 2.0, "kind": "kill", "process": "engine", "pid": 1}
    many = [e if e["kind"] != "witness" or e["what"] != "end" else e | {"lines": printed} for e in sound()]
    many = [e if e["kind"] != "submit" else e | {"what": what} for e in many]
    result = {"result": f"result 1 {printed}\n"}
    short = [e if e["kind"] != "log" else e | result | {"items": [*e["items"], word]} for e in many]
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
