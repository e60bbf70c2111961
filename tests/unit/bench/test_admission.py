"""The replay: the textbook agrees with an independent simulator, ours beats it, and the output has its form."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench import classic, tiny
from bench.admission import TRACES, compare, main
from bench.replay import simulate
from bench.swf import TraceJob, at_load, read

#: what an independent simulator found: utilisation, mean bounded slowdown, mean and longest wait, backfills
INDEPENDENT = {
    ("lublin-11-modal", 0.7, "fcfs"): (0.543, 16075.9, 532097, 1358979, 0),
    ("lublin-11-modal", 0.7, "easy"): (0.666, 355.1, 19640, 317833, 4364),
    ("lublin-12-modal", 0.8, "fcfs"): (0.569, 22292.4, 771761, 1659264, 0),
    ("lublin-12-modal", 0.8, "easy"): (0.755, 352.0, 20727, 418125, 4592),
    ("lublin-13-lazy", 0.9, "fcfs"): (0.586, 23571.5, 815352, 1926510, 0),
    ("lublin-13-lazy", 0.9, "easy"): (0.724, 3823.8, 148651, 914364, 4424),
}
FIELDS = {
    "utilisation", "mean_wait", "p95_wait", "max_wait", "mean_bounded_slowdown", "makespan", "backfills",
    "broken_reservations", "eta_mean_abs_error", "seconds",
}  # fmt: skip


@pytest.mark.parametrize(("name", "load", "policy"), INDEPENDENT)
def test_the_textbook_agrees_with_an_independent_simulator(name: str, load: float, policy: str) -> None:
    jobs, processors = read(TRACES / f"{name}.swf")
    found = compare(at_load(jobs, processors, load), processors, [policy])[policy]
    utilisation, slowdown, mean_wait, max_wait, backfills = INDEPENDENT[name, load, policy]
    assert found.utilisation == pytest.approx(utilisation, abs=0.001)
    assert found.mean_bounded_slowdown == pytest.approx(slowdown, rel=0.002)
    assert found.mean_wait == pytest.approx(mean_wait, rel=0.001)
    assert found.max_wait == pytest.approx(max_wait, rel=0.001)
    assert found.backfills == pytest.approx(backfills, abs=2)
    assert found.broken_reservations == 0


def test_ours_beats_easy_and_breaks_no_reservation() -> None:
    jobs, processors = read(TRACES / "lublin-12-modal.swf")
    made = compare(at_load(jobs, processors, 0.8), processors, ["ours", "easy"])
    assert made["ours"].broken_reservations == 0
    assert made["ours"].mean_bounded_slowdown <= 0.5 * made["easy"].mean_bounded_slowdown
    assert made["ours"].max_wait <= 1.5 * made["easy"].max_wait
    assert made["ours"].eta_mean_abs_error is not None
    assert made["ours"].eta_mean_abs_error < (made["easy"].eta_mean_abs_error or 0)


@pytest.mark.parametrize(
    ("name", "load", "slowdown", "points"), [("lublin-12-modal", 0.9, 0.5, 0.75), ("lublin-13-lazy", 0.7, 0.55, 0.25)]
)
def test_where_a_trace_does_not_say_whose_jobs_are_the_aims_hold_too(
    tmp_path: Path, name: str, load: float, slowdown: float, points: float
) -> None:
    path = tmp_path / "unnamed.swf"
    lines = [line.split() for line in (TRACES / f"{name}.swf").read_text().splitlines()]
    path.write_text("\n".join(" ".join(_unnamed(parts)) for parts in lines))
    jobs, processors = read(path)
    assert {(job.user, job.application) for job in jobs} == {("", "")}
    jobs = at_load(jobs, processors, load)
    ours, easy = simulate(jobs, processors, eta=False), classic.simulate(jobs, processors, backfill=True, eta=False)
    assert ours.broken_reservations == 0
    assert ours.mean_bounded_slowdown <= slowdown * easy.mean_bounded_slowdown
    assert ours.max_wait <= 1.25 * easy.max_wait
    assert ours.utilisation >= easy.utilisation - points / 100


@pytest.mark.parametrize(("load", "seed"), [(0.5, 1), (0.6, 1), (0.6, 2)])
def test_tiny_jobs_do_not_hold_up_tiny_ones_as_wide_as_the_machine(load: float, seed: int) -> None:
    """Every short job used the slack of a head no longer than itself, and the machine drained for each head anew."""
    jobs = at_load(tiny.workload(seed, jobs=1500), 16, load)
    ours, easy = simulate(jobs, 16, eta=False), classic.simulate(jobs, 16, backfill=True, eta=False)
    assert ours.broken_reservations == 0
    assert ours.mean_bounded_slowdown <= 1.1 * easy.mean_bounded_slowdown
    assert ours.max_wait <= 1.5 * easy.max_wait
    assert ours.utilisation >= easy.utilisation - 0.005


def _unnamed(parts: list[str]) -> list[str]:
    return parts if parts[0].startswith(";") else [*parts[:11], "-1", "-1", "-1", *parts[14:]]


def short_trace(tmp_path: Path) -> Path:
    path = tmp_path / "short.swf"
    lines = (TRACES / "lublin-12-modal.swf").read_text().splitlines()[:203]
    path.write_text("\n".join(lines))
    return path


def test_json_has_the_promised_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--trace", str(short_trace(tmp_path)), "--procs", "128", "--load", "0.9", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"ours", "fcfs", "easy"}
    assert all(set(each) == FIELDS for each in found.values())
    assert all(isinstance(value, int | float) for each in found.values() for value in each.values())


def test_one_policy_alone_and_the_same_input_gives_the_same_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for _ in range(2):
        assert main(["--trace", str(short_trace(tmp_path)), "--procs", "128", "--policy", "ours", "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out))
        del found[-1]["ours"]["seconds"]
    assert set(found[0]) == {"ours"}
    assert found[0] == found[1]


def test_a_malformed_line_ends_it_by_its_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = short_trace(tmp_path)
    path.write_text(path.read_text() + "\n7 oops")
    assert main(["--trace", str(path), "--procs", "128"]) == 1
    assert "line 204 has 2 fields" in capsys.readouterr().err


#: as archives have them: cancelled before and after the start, no limit, no user, killed at its limit, of no length, of
#: the machine's size and beyond, out of order
ODD = """; UnixStartTime: 0
1 100 5 50 4 -1 -1 4 60 -1 1 7 7 9 1 -1 -1 -1
2 90 -1 -1 -1 -1 -1 8 600 -1 5 7 7 9 1 -1 -1 -1
3 110 7 3 2 -1 -1 2 600 -1 5 -1 -1 -1 -1 -1 -1 -1
4 120 0 0 1 -1 -1 -1 -1 -1 0 7 7 -1 1 -1 -1 -1
5 130 0 900 2 -1 -1 -1 600 -1 1 -1 -1 -1 1 -1 -1 -1
6 130 0 500 {all} -1 -1 {all} -1 -1 1 8 8 9 1 -1 -1 -1
7 140 0 500 {more} -1 -1 {more} -1 -1 1 8 8 9 1 -1 -1 -1
8 -1 0 500 1 -1 -1 1 -1 -1 1 8 8 9 1 -1 -1 -1
9 150.5 0 10.25 3 12.5 1024 3 20 -1 1 8 8 9 1 -1 5 10
"""


@pytest.mark.parametrize("processors", [8, 100, 4_096, 4_097, 163_840, 1_000_000])
def test_a_log_as_archives_have_them_is_replayed_and_what_is_left_out_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], processors: int
) -> None:
    path = tmp_path / "odd.swf"
    path.write_text(ODD.format(all=processors, more=processors + 1))
    assert main(["--trace", str(path), "--procs", str(processors), "--load", "0.8", "--json"]) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert all(each["broken_reservations"] == 0 and each["makespan"] > 0 for each in found.values())
    assert all(isinstance(value, int | float) for each in found.values() for value in each.values())
    assert f"1 left out that asked for more than {processors} processors; the first is line 8" in told.err
    assert "1 left out that never ran; the first is line 3" in told.err


def test_a_machine_larger_than_the_replay_counts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.swf"
    path.write_text(ODD.format(all=8, more=9))
    assert main(["--trace", str(path), "--procs", "1073741825"]) == 1
    assert "the replay counts up to 1073741824" in capsys.readouterr().err


def test_what_stands_for_processors_does_not_matter() -> None:
    """A machine of more processors than any has cores, all of whose jobs are as much larger, does the same."""
    jobs, processors = read(TRACES / "lublin-12-modal.swf")
    few = at_load(jobs[:300], processors, 0.9)
    many = [replace(job, processors=job.processors * 100) for job in few]
    made, scaled = simulate(few, processors, eta=False), simulate(many, processors * 100, eta=False)
    assert made == scaled
    assert made.backfills


def one_job(number: int, submit: int, run: int, limit: int, processors: int) -> TraceJob:
    return TraceJob(number, 1000 * submit, 1000 * run, 1000 * limit, processors, "1", "1")


def test_on_a_short_trace_everyone_who_waits_is_asked_when_it_will_start() -> None:
    """The second is told 600 and starts at 100; the third fits beside both, starts at once and is not asked."""
    jobs = [one_job(1, 0, 100, 600, 3), one_job(2, 1, 50, 60, 2), one_job(3, 2, 10, 20, 1)]
    made = compare(jobs, 4, ["ours", "easy"])
    assert [each.eta_mean_abs_error for each in made.values()] == [500.0, 500.0]
    assert compare(jobs, 4, ["fcfs"])["fcfs"].eta_mean_abs_error == (500.0 + 500.0) / 2


def test_where_nobody_waits_nothing_untrue_is_said_about_when() -> None:
    made = compare([one_job(1, 0, 100, 600, 3), one_job(2, 1, 50, 60, 1)], 4, ["ours", "fcfs", "easy"])
    assert [each.eta_mean_abs_error for each in made.values()] == [0.0, 0.0, 0.0]
