"""docker-compose.yml as a whole: a bundle goes in from outside, and every door shows what became of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compose import BASE_IMAGE, Stack, compose_stack, until

#: the image is built first
pytestmark = pytest.mark.timeout(900)

COUNT_WORDS = """
import hashlib, json, pathlib, sys

text = pathlib.Path("words.txt").read_text()
held = bytearray(48 * 1024 * 1024)
held[::4096] = b"x" * len(held[::4096])
digest = text.encode()
for _ in range(500_000):
    digest = hashlib.sha256(digest).digest()
results = pathlib.Path("results")
results.mkdir()
(results / "count.json").write_text(json.dumps({"words": len(text.split())}))
(results / "digest.txt").write_text(digest.hex())
locked = results / "locked"
locked.mkdir()
(locked / "note.txt").write_text("for nobody")
locked.chmod(0)
results.chmod(0o1777)
print("counted", len(text.split()), "words")
print("and said so", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, for the tests of this file; when one of them fails its log is shown."""
    failed_before = request.session.testsfailed
    with compose_stack(tmp_path_factory.mktemp("compose")) as running:
        yield running
        if request.session.testsfailed > failed_before:
            print(running.compose("logs", "--no-color", "--tail=100"))


@pytest.fixture(scope="module")
def counted(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `hivemind run` laid the files of the job `count`, which ended well."""
    bundle, output = tmp_path_factory.mktemp("bundle"), tmp_path_factory.mktemp("output") / "files"
    (bundle / "main.py").write_text(COUNT_WORDS)
    (bundle / "words.txt").write_text("one two three\nfour five\n")
    done = stack.hivemind("run", "--id", "count", "--bundle", str(bundle), "--output", str(output))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "counted 5 words\n"
    assert "and said so\n" in done.stderr
    return output


def shown(stack: Stack, task_id: str) -> Any:
    answer = stack.get("api", f"/api/tasks/{task_id}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def in_flower(stack: Stack, task_id: str, state: str) -> Any:
    """The task once Flower has heard of that state: events come after the fact."""

    def look() -> Any:
        answer = stack.get("flower", f"/api/task/info/{task_id}")
        return answer.json() if answer.status_code == 200 and answer.json()["state"] == state else None

    return until(f"Flower shows {task_id} as {state}", look, seconds=30)


def test_a_job_that_fails_gives_its_exit_code(stack: Stack) -> None:
    done = stack.hivemind("run", "--id", "fails", BASE_IMAGE, "sh", "-c", "echo so far; exit 7")
    assert (done.returncode, done.stdout) == (7, "so far\n")
    assert (shown(stack, "fails")["state"], shown(stack, "fails")["cause"]) == ("failed", "exit")
    assert in_flower(stack, "fails", "FAILURE")["runtime"] > 0


def test_a_job_beyond_its_memory_cap_is_known_to_have_been_killed_for_it(stack: Stack) -> None:
    hungry = "held = bytearray(256 * 1024 * 1024); held[::4096] = b'x' * 65536"
    done = stack.hivemind("run", "--id", "hungry", "--memory", "64M", BASE_IMAGE, "python3", "-c", hungry)
    assert done.returncode == 137, done.stderr
    job = shown(stack, "hungry")
    assert (job["state"], job["cause"]) == ("failed", "oom")
    assert "memory cap of 64" in str(job["evidence"])


def test_a_bundle_runs_and_its_files_come_back(counted: Path) -> None:
    files = {str(path.relative_to(counted)) for path in counted.rglob("*") if path.is_file()}
    results = {"results/count.json", "results/digest.txt", "results/locked/note.txt"}
    assert files == results | {"execution_log.txt", "outcome.json"}
    assert json.loads((counted / "results/count.json").read_text()) == {"words": 5}
    assert len((counted / "results/digest.txt").read_text()) == 64
    assert (counted / "results/locked/note.txt").read_text() == "for nobody"
    # Two streams, and pieces of a line, in the order in which they were read.
    words = (counted / "execution_log.txt").read_text().split()
    assert sorted(words) == sorted(["counted", "5", "words", "and", "said", "so"])
    assert json.loads((counted / "outcome.json").read_text())["exit_code"] == 0


def test_the_status_api_shows_the_job_and_what_it_used(stack: Stack, counted: Path) -> None:
    job = shown(stack, "count")
    assert (job["state"], job["cause"], job["exit_code"], job["attempt"]) == ("completed", "ok", 0, 1)
    assert (job["node"], job["worker"]) == (stack.project, "celery@worker")
    assert job["usage"]["cpu_seconds"] > 0.1
    assert job["usage"]["memory_peak"] > 48 * 1024 * 1024
    assert job["artifact"]["size"] > 0
    assert "count" in {task["task_id"] for task in stack.get("api", "/api/tasks").json()["tasks"]}


def test_nothing_of_a_job_is_left_in_the_state_whatever_modes_it_set(stack: Stack, counted: Path) -> None:
    def gone() -> bool:
        return not stack.compose("exec", "-T", "worker", "ls", "-A", f"{stack.state}/workspaces").strip()

    until("the workspaces are removed, which comes after the outcome", gone, seconds=30)


def test_the_health_report_finds_every_part_well(stack: Stack) -> None:
    answer = stack.get("api", "/health")
    assert answer.status_code == 200, answer.text
    assert {name: check["status"] for name, check in answer.json()["checks"].items()} == dict.fromkeys(
        ("redis", "docker", "worker", "gpu", "bridge", "disk", "history"), "ok"
    )


def test_flower_shows_the_job_with_its_runtime(stack: Stack, counted: Path) -> None:
    task = in_flower(stack, "count", "SUCCESS")
    assert task["name"] == "hivemind.run_job"
    assert task["runtime"] > 0
    assert task["worker"] == "celery@worker"


def test_a_job_outlives_its_worker_and_obeys_the_next_one(stack: Stack) -> None:
    waits = "trap 'echo told to stop; exit 0' TERM; echo begun; while true; do sleep 0.1; done"
    assert stack.hivemind("submit", "--id", "outlives", BASE_IMAGE, "sh", "-c", waits).returncode == 0
    until("the job runs", lambda: shown(stack, "outlives")["state"] == "running", seconds=60)
    stack.compose("restart", "worker")
    until("a worker is there again", stack.all_healthy, seconds=90)
    assert shown(stack, "outlives")["state"] == "running"
    assert stack.hivemind("stop", "outlives").returncode == 0
    stack.hivemind("wait", "outlives")
    job = shown(stack, "outlives")
    assert (job["state"], job["cause"], job["attempt"]) == ("stopped", "cancelled", 1)
    assert stack.hivemind("logs", "outlives").stdout == "begun\ntold to stop\n"


def test_only_the_doors_are_on_a_network(stack: Stack) -> None:
    modes = {name: stack.container(name).attrs["HostConfig"]["NetworkMode"] for name in ("redis", "worker")}
    assert modes == {"redis": "none", "worker": "none"}
    for door in ("bridge", "api", "flower"):
        assert stack.address(door).startswith("127.0.0.1:")
