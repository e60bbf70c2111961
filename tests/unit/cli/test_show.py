"""What `show` and `ps` say of a job: nothing that is not known."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hivemind_cli.commands.nodes import remarks, trouble
from hivemind_cli.commands.ps import listing
from hivemind_cli.commands.show import described
from hivemind_worker.domain.job import Job, Promised, State, WaitingInfo, view
from hivemind_worker.domain.node import NodeState, node_view
from hivemind_worker.domain.outcome import Cause, LogInfo, Outcome, Usage
from hivemind_worker.store.records import shown_of
from tests.builders import assignment, node, request

NOW = datetime.fromtimestamp(100, UTC)


def job(**given: Any) -> dict[str, Any]:
    """A job that was started a hundred seconds ago."""
    times = {"created": 0, "admitted": 0, "started": 0}
    return view(Job.model_validate({"assignment": assignment(), "attempt": 1, "times": times} | given))


def test_what_a_running_job_used_and_printed_is_not_known_yet() -> None:
    running = dict(described(job(state=State.RUNNING)))
    assert not {"used", "log"} & set(running)


def test_a_limit_on_cores_is_shown_as_what_it_is_a_bound_that_the_node_may_lower() -> None:
    spec = assignment(requests=request(cpu=0.5, cpu_limit=2.0))
    asked = dict(described(job(state=State.RUNNING, assignment=spec)))["asked for"]
    assert asked.startswith("0.5 cores (up to 2 where the node lends them), ")


def test_what_an_ended_job_used_and_printed_is_shown() -> None:
    outcome = Outcome(cause=Cause.OK, exit_code=0, usage=Usage(cpu_seconds=1.5), log=LogInfo(bytes=7))
    ended = dict(described(job(state=State.COMPLETED, outcome=outcome)))
    assert ended["used"].startswith("1.50 s of CPU")
    assert ended["log"] == "7 bytes"


def test_how_long_an_ended_job_ran_is_what_was_measured_not_when_its_end_could_be_recorded() -> None:
    times = {"created": 0, "admitted": 0, "started": 0, "finished": 133_000}
    outcome = Outcome(cause=Cause.OK, exit_code=0, usage=Usage(wall_seconds=40.2))
    ended = job(state=State.COMPLETED, times=times, outcome=outcome)
    assert dict(described(ended))["ran"] == "40s"
    assert "40s" in listing([ended], NOW)[1]
    never_measured = job(state=State.FAILED, times=times, outcome=Outcome(cause=Cause.NODE_LOST))
    assert dict(described(never_measured))["ran"] == "2m13s"


def test_a_job_on_a_silent_node_says_since_when_it_is_silent() -> None:
    silent = node_view(node(state=NodeState.DOWN).model_copy(update={"heartbeat": 60_000}), {}, 0)
    held = job(state=State.RUNNING, node="n1", worker="w1")
    assert dict(described(held, trouble(silent)))["node"] == "n1 (w1), silent since 1970-01-01T00:01:00.000Z"
    assert list(remarks(silent)) == ["n1: silent since 1970-01-01T00:01:00.000Z"]


def test_a_node_whose_engine_does_not_answer_says_so() -> None:
    well = node_view(node(), {}, 0)
    ill = node_view(node().model_copy(update={"trouble": "the engine does not answer"}), {}, 0)
    assert "n1: the engine does not answer" in list(remarks(ill))
    assert list(remarks(well)) == []


def test_a_record_that_cannot_be_read_is_said_to_be_so_and_nothing_is_made_up_for_it() -> None:
    damaged = view(shown_of({"version": "2", "state": "running", "attempt": "1", "spec": "{", "created": "0"}, "t1"))
    shown = dict(described(damaged))
    assert "t1 is damaged" in shown["evidence"]
    assert not {"image", "asked for"} & set(shown)
    line = listing([damaged], NOW)[1]
    assert "t1 is damaged" in line
    assert "0.01" not in line


def test_a_record_that_cannot_be_read_says_so_after_its_end_too() -> None:
    outcome = Outcome(cause=Cause.EXIT, exit_code=3, evidence="it exited with 3").model_dump_json()
    record = {"version": "2", "state": "failed", "attempt": "1", "spec": "{", "created": "0", "outcome": outcome}
    shown = dict(described(view(shown_of(record, "t1"))))
    assert shown["evidence"].startswith("it exited with 3; the record of t1 is damaged")


def test_what_is_wrong_with_a_waiting_record_goes_before_what_it_waits_for() -> None:
    newer = shown_of({"version": "99", "state": "waiting", "attempt": "0", "created": "0"}, "t1")
    line = listing([view(newer, WaitingInfo(reason="its place is being looked up", position=1))], NOW)[1]
    assert "version 99" in line
    assert "looked up" not in line


def test_what_is_wrong_with_a_record_is_said_once() -> None:
    evidence = "its record was damaged (the record of t1 is damaged: it has no spec) and is kept"
    outcome = Outcome(cause=Cause.INTERNAL, evidence=evidence).model_dump_json()
    record = {"version": "2", "state": "failed", "attempt": "1", "created": "0", "outcome": outcome}
    assert view(shown_of(record, "t1"))["evidence"] == evidence


def test_a_waiting_job_says_its_place_its_start_and_what_was_promised_to_whom() -> None:
    waits = Job.model_validate({"assignment": assignment(), "times": {"created": 0}, "state": "waiting"})
    promise = Promised(task_id="big", node="n2", at="2001-02-03T04:05:06.000Z")
    info = WaitingInfo(reason="needs 2 cores more", position=3, eta_seconds=75, promise=promise)
    shown = dict(described(view(waits, info)))
    assert (shown["because"], shown["place"], shown["starts"]) == (
        "needs 2 cores more",
        "3 in the line",
        "in about 1m15s",
    )
    assert shown["promised"] == "big, which is before it: 2001-02-03 04:05 UTC (due) on n2 at the latest"
    own = info.model_copy(update={"promise": promise.model_copy(update={"task_id": "t1"})})
    assert dict(described(view(waits, own)))["promised"].startswith("this job: ")


def test_attempts_before_say_whose_fault_and_who_paid() -> None:
    past = ({"attempt": 1, "node": "n1", "cause": "node_lost"}, {"attempt": 2, "node": "n2", "cause": "exit"})
    spec = assignment(retries=2)
    again = job(assignment=spec, state=State.RUNNING, attempt=3, past=past, failures=1, infra_failures=1)
    shown = dict(described(again))
    assert shown["attempt"] == "3, 1 of 2 own retries used, 1 paid for by the infrastructure"
    assert shown["attempt 1"] == "node_lost (on n1, the infrastructure's fault)"
    assert shown["attempt 2"] == "exit (on n2, its own fault)"
    assert "ATTEMPT" in listing([again], NOW)[0]
    assert "ATTEMPT" not in listing([job(state=State.RUNNING)], NOW)[0]


def test_what_a_job_asks_for_is_named_and_one_of_it_is_one() -> None:
    asks = job(state=State.RUNNING, assignment=assignment(requests=request(gpus=1, gpu_memory=2**31)))
    asked = dict(described(asks))["asked for"]
    assert asked == "1 core, 64M memory, 10M disk, 64 processes, 1 GPU (2G each), for 1m00s at most"
    assert "1x2G" in listing([asks], NOW)[1]
