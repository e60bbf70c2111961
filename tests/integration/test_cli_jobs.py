"""The commands of `hivemind` against a real node: what they print, where, and how they exit."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes import BASE, HIVEMIND, Node, expect, finish, running_node

SHAPE = {
    "task_id", "state", "cause", "exit_code", "attempt", "owner", "node", "worker", "image", "command", "requests",
    "priority", "waiting", "times", "usage", "artifact", "log", "evidence",
}  # fmt: skip
#: a loop that says it has begun, and then waits to be told
ENDLESS = "echo begun; while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all tests of this file."""
    with running_node(tmp_path_factory.mktemp("node") / "state", "cli-jobs") as node:
        yield node


def bundle(folder: Path, program: str) -> Path:
    folder.mkdir()
    (folder / "main.py").write_text(program)
    return folder


# --- run --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["--memory", "0", BASE, "true"], 126, "requests.memory: must be"),
        (["--cpu", "-1", BASE, "true"], 126, "requests.cpu: must be"),
        (["--cpu", "nan", BASE, "true"], 126, "requests.cpu: must be a finite number"),
        (["--cpu", "4000", BASE, "true"], 126, "requests.cpu: asked for 4000 cores"),
        (["--pids", "0", BASE, "true"], 126, "requests.pids"),
        (["--priority", "10", BASE, "true"], 126, "priority"),
        (["--id", "a b", BASE, "true"], 126, "task_id"),
        (["--env", "1A=x", BASE, "true"], 126, "env"),
        (["Not An Image", "true"], 126, "image"),
        (["--timeout", "0s", BASE, "true"], 126, "timeout_seconds"),
    ],
)
def test_a_refused_job_exits_126_names_the_field_and_leaves_no_record(
    node: Node, args: list[str], code: int, says: str
) -> None:
    before = node.json("ps", "-a")["tasks"]
    done = node.hivemind("run", *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert node.json("ps", "-a")["tasks"] == before


def test_a_bundle_with_a_link_is_refused_before_anything_is_sent(node: Node, tmp_path: Path) -> None:
    program = bundle(tmp_path / "p", "print(1)")
    (program / "link").symlink_to("main.py")
    done = node.hivemind("run", "--bundle", str(program))
    assert done.returncode == 126
    assert "link is a symbolic link" in done.stderr


@pytest.mark.parametrize("place", ["/proc/nope", "a-file", "a-file/below"])
def test_an_output_that_cannot_be_written_is_said_before_anything_is_assigned(
    node: Node, tmp_path: Path, place: str
) -> None:
    (tmp_path / "a-file").touch()
    done = node.hivemind("run", "--id", "nowhere", "--output", str(tmp_path / place), BASE, "true")
    assert (done.returncode, done.stdout) == (2, "")
    assert place in done.stderr
    assert done.stderr.count("\n") == 1
    assert node.hivemind("show", "nowhere").returncode == 1


def test_a_refused_job_leaves_no_output_directory(node: Node, tmp_path: Path) -> None:
    done = node.hivemind("run", "--output", str(tmp_path / "a" / "b"), "--memory", "0", BASE, "true")
    assert done.returncode == 126
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_zip_is_refused(node: Node, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("not a zip")
    done = node.hivemind("run", "--bundle", str(tmp_path / "x.zip"))
    assert (done.returncode, done.stdout) == (126, "")
    assert "not a zip" in done.stderr


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["--timeout", "1s", BASE, "sleep", "60"], 124, "timeout"),
        (["--memory", "32M", BASE, "python3", "-c", "x = b'x' * 200_000_000"], 137, "oom"),
        ([BASE, "no-such-command"], 127, "entrypoint"),
        ([BASE, "sh", "-c", "exit 42"], 42, "exit code 42"),
        ([BASE, "true"], 0, ""),
    ],
)
def test_run_exits_as_the_job_ended(node: Node, args: list[str], code: int, says: str) -> None:
    done = node.hivemind("run", *args)
    assert done.returncode == code
    assert says in done.stderr


def test_stdout_and_stderr_arrive_apart_and_byte_for_byte(node: Node) -> None:
    code = "import os, hashlib; b = bytes(range(256)) * 2000; os.write(1, b); os.write(2, b'\\xff\\x00err\\n')"
    done = subprocess.run(
        [*HIVEMIND, "run", BASE, "python3", "-c", code], env=node.env, capture_output=True, check=True
    )
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(bytes(range(256)) * 2000).digest()
    assert done.stderr == b"\xff\x00err\n"


def test_a_bundle_runs_with_its_environment_and_its_artifact_comes_back(node: Node, tmp_path: Path) -> None:
    text = "import os; open('out.txt', 'w').write(os.environ['A'] + os.environ['S']); print('ran')"
    program, output = bundle(tmp_path / "p", text), tmp_path / "output"
    (program / "__pycache__").mkdir()
    done = node.hivemind("run", "--bundle", str(program), "--env", "A=1", "--secret", "S=hush", "-o", str(output))
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert "left out of the bundle: __pycache__" in done.stderr
    assert (output / "out.txt").read_text() == "1hush"
    assert (output / "execution_log.txt").read_bytes() == b"ran\n"
    assert json.loads((output / "outcome.json").read_text())["cause"] == "ok"
    assert sorted(path.name for path in output.iterdir()) == ["execution_log.txt", "out.txt", "outcome.json"]


def test_a_command_goes_before_the_bundles_own_program(node: Node, tmp_path: Path) -> None:
    program = bundle(tmp_path / "p", "raise SystemExit('not this one')")
    done = node.hivemind("run", "--bundle", str(program), BASE, "sh", "-c", "ls; pwd")
    assert (done.returncode, done.stdout) == (0, "main.py\n/workspace\n")


def test_under_json_the_log_goes_to_stderr_and_stdout_is_one_document(node: Node) -> None:
    done = node.hivemind("run", "--json", BASE, "sh", "-c", "echo hello; exit 3")
    assert done.returncode == 3
    assert json.loads(done.stdout)["exit_code"] == 3
    assert "hello\n" in done.stderr


def test_ctrl_c_stops_the_job_shows_its_last_words_and_exits_130(node: Node) -> None:
    script = f"trap 'echo last words; exit 0' TERM; {ENDLESS}"
    running = node.start("run", "--id", "interrupted", BASE, "sh", "-c", script)
    expect(running, "begun")
    code, rest = finish(running, signal.SIGINT)
    assert code == 130
    assert "last words" in rest
    assert node.json("show", "interrupted")["cause"] == "cancelled"


def test_a_second_ctrl_c_leaves_at_once_and_the_job_is_stopped_all_the_same(node: Node) -> None:
    running = node.start("run", "--id", "left", BASE, "sh", "-c", f"trap '' TERM; {ENDLESS}")
    expect(running, "begun")
    running.send_signal(signal.SIGINT)
    expect(running, "again leaves at once")
    code, rest = finish(running, signal.SIGINT)
    assert code == 130
    assert "the job is being stopped" in rest
    assert node.json("show", "left")["state"] == "running", "it has ten seconds to leave"
    assert node.hivemind("stop", "left", "--grace", "0").returncode == 0
    assert node.hivemind("wait", "left").returncode == 1


def test_on_a_terminal_it_is_said_why_a_job_waits(node: Node) -> None:
    assert node.hivemind("drain").returncode == 0
    ours, theirs = pty.openpty()
    try:
        command = [*HIVEMIND, "run", "--id", "waits", BASE, "echo", "ran"]
        running = subprocess.Popen(command, env=node.env, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        seen = b""
        while b"waiting" not in seen:
            seen += os.read(ours, 4096)
        assert node.hivemind("resume").returncode == 0
        while b"ran" not in seen:
            seen += os.read(ours, 4096)
        assert running.wait() == 0
    finally:
        os.close(ours)
        node.hivemind("resume")


# --- submit, ps, show, logs, wait, stop, fetch ---------------------------------------------------------------


def test_submit_prints_the_id_and_nothing_else(node: Node) -> None:
    done = node.hivemind("submit", BASE, "true")
    task_id = done.stdout.strip()
    assert done.stdout == f"{task_id}\n"
    assert node.hivemind("wait", task_id).returncode == 0
    assert node.json("submit", "--id", "named", BASE, "true") | {"state": ""} == {
        "task_id": "named", "state": "", "created": True,
    }  # fmt: skip


def test_the_same_id_is_the_same_job_and_with_another_spec_an_error(node: Node) -> None:
    assert node.hivemind("submit", "--id", "twice", BASE, "true").stdout == "twice\n"
    assert node.json("submit", "--id", "twice", BASE, "true")["created"] is False
    done = node.hivemind("submit", "--id", "twice", BASE, "false")
    assert (done.returncode, done.stdout) == (1, "")
    assert "twice is taken by another assignment" in done.stderr


def test_ps_lists_active_jobs_and_with_a_all_of_them(node: Node) -> None:
    running = node.start("run", "--id", "active", "--owner", "me", BASE, "sh", "-c", ENDLESS)
    expect(running, "begun")
    node.hivemind("run", "--id", "over", BASE, "true")
    active = node.json("ps")
    assert [task["task_id"] for task in active["tasks"]] == ["active"]
    assert set(active) == {"tasks", "next", "note"}
    assert set(active["tasks"][0]) >= SHAPE
    assert {"active", "over"} <= {task["task_id"] for task in node.json("ps", "-a")["tasks"]}
    assert [task["task_id"] for task in node.json("ps", "--state", "running")["tasks"]] == ["active"]
    page = node.json("ps", "-a", "--limit", "1")
    assert len(page["tasks"]) == 1
    assert node.json("ps", "-a", "--limit", "1", "--cursor", page["next"])["tasks"] != page["tasks"]
    table = node.hivemind("ps").stdout
    assert "active" in table
    assert "\x1b" not in table
    finish(running, signal.SIGINT)
    assert node.hivemind("ps").stdout == ""


def test_show_has_the_contracts_shape_and_no_secret(node: Node) -> None:
    node.hivemind("run", "--id", "shown", "--cpu", "0.5", "--memory", "64M", "--secret", "S=hush", BASE, "echo", "x")
    task = node.json("show", "shown")
    assert set(task) >= SHAPE
    assert {"cpu", "memory", "gpus", "gpu_memory", "disk", "pids"} <= set(task["requests"])
    assert set(task["times"]) == {"created", "admitted", "started", "finished"}
    assert (task["requests"]["cpu"], task["requests"]["memory"]) == (0.5, 64 * 2**20)
    assert (task["state"], task["cause"], task["exit_code"], task["waiting"]) == ("completed", "ok", 0, None)
    assert (task["log"], set(task["artifact"])) == ({"bytes": 2, "truncated": False}, {"sha256", "size"})
    done = node.hivemind("show", "shown")
    assert "completed" in done.stdout
    assert "hush" not in done.stdout + json.dumps(task)


def test_logs_are_raw_can_be_followed_and_taken_up_later(node: Node) -> None:
    script = "echo one; echo two >&2; sleep 0.5; echo three"
    node.hivemind("submit", "--id", "logged", BASE, "sh", "-c", script)
    followed = node.hivemind("logs", "-f", "logged")
    assert (followed.stdout, followed.stderr) == ("one\nthree\n", "two\n")
    chunks = node.json("logs", "logged")["chunks"]
    assert "".join(chunk["data"] for chunk in chunks if chunk["stream"] == "stdout") == "one\nthree\n"
    last = str(chunks[-1]["number"])
    assert node.hivemind("logs", "--from", last, "logged").stdout == "three\n"


def test_following_a_quiet_job_ends_with_the_reader(node: Node) -> None:
    node.hivemind("submit", "--id", "quiet", BASE, "sh", "-c", "echo begun; sleep 600")
    command = [*HIVEMIND, "logs", "-f", "quiet"]
    with subprocess.Popen(command, env=node.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as following:
        try:
            assert following.stdout is not None
            assert following.stderr is not None
            assert following.stdout.readline() == b"begun\n"
            following.stdout.close()
            assert following.stderr.read() == b""
            assert following.wait() == 141
        finally:
            following.kill()
    assert node.json("show", "quiet")["state"] == "running"
    assert node.hivemind("stop", "quiet", "--grace", "0").returncode == 0


def test_wait_exits_1_when_any_job_did_not_complete(node: Node) -> None:
    node.hivemind("submit", "--id", "good", BASE, "true")
    node.hivemind("submit", "--id", "bad", BASE, "false")
    assert node.hivemind("wait", "good").returncode == 0
    done = node.hivemind("wait", "good", "bad")
    assert (done.returncode, done.stdout) == (
        1,
        "good completed\nbad failed (exit code 1): it ended with exit code 1\n",
    )
    both = node.hivemind("--json", "wait", "good", "bad")
    assert [task["state"] for task in json.loads(both.stdout)["tasks"]] == ["completed", "failed"]


def test_stop_ends_a_job_and_says_when_it_had_ended(node: Node) -> None:
    running = node.start("run", "--id", "stopped", BASE, "sh", "-c", ENDLESS)
    expect(running, "begun")
    assert node.json("stop", "stopped", "--grace", "0s")["accepted"] is True
    assert finish(running)[0] == 130
    done = node.hivemind("stop", "stopped")
    assert done.returncode == 0
    assert "had ended before" in done.stderr


def test_fetch_unpacks_the_artifact_of_a_failed_job_too(node: Node, tmp_path: Path) -> None:
    node.hivemind("run", "--id", "half", BASE, "sh", "-c", "echo half >result; exit 1")
    answer = node.json("fetch", "half", str(tmp_path / "files"))
    assert sorted(answer["files"]) == ["execution_log.txt", "outcome.json", "result"]
    assert (tmp_path / "files" / "result").read_text() == "half\n"


@pytest.mark.parametrize(
    "args",
    [
        ["show", "ghost"],
        ["logs", "ghost"],
        ["logs", "-f", "ghost"],
        ["stop", "ghost"],
        ["wait", "ghost"],
        ["fetch", "ghost", "there"],
    ],
)
def test_an_id_that_does_not_exist_is_one_line_and_exit_1(node: Node, args: list[str], tmp_path: Path) -> None:
    args = [str(tmp_path / arg) if arg == "there" else arg for arg in args]
    done = node.hivemind(*args)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "error: there is no job ghost\n")
    assert list(tmp_path.iterdir()) == []
    document = json.loads(node.hivemind("--json", *args).stdout)
    assert document == {"error": {"code": "NOT_FOUND", "message": "there is no job ghost", "field": None}}


@pytest.mark.parametrize(
    ("args", "code"),
    [(["ps"], 1), (["show", "x"], 1), (["logs", "-f", "x"], 1), (["wait", "x"], 1), (["submit", BASE, "x"], 1),
     (["run", BASE, "x"], 125), (["nodes"], 1), (["top"], 1)],
)  # fmt: skip
def test_a_bridge_that_is_away_is_one_line_with_its_address_and_the_remedy(
    node: Node, args: list[str], code: int
) -> None:
    done = node.hivemind("--bridge", "127.0.0.1:9", *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert "127.0.0.1:9" in done.stderr
    assert "hivemind up" in done.stderr
    assert done.stderr.count("\n") == 1


# --- the node's -----------------------------------------------------------------------------------------------
