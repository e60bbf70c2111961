"""The whole node by `hivemind up`: it comes up, carries jobs across its own end, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from hivemind_cli import nodefile, processes
from hivemind_worker.bootstrap import open_stores
from hivemind_worker.domain.job import State
from hivemind_worker.settings import load_settings
from tests.builders import new_job, request
from tests.nodes import BASE, REPOSITORY, Node, expect, finish

#: counts to a hundred, ten a second: long enough to be there when a node comes back
COUNT = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo $i; sleep 0.1; done"
COUNTED = "".join(f"{number}\n" for number in range(1, 101))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node that is not up yet; whatever happens, nothing of it is left."""
    node = Node(tmp_path / "state", "upped")
    try:
        yield node
    finally:
        node.end()


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        body: bytes = answer.read()
        return body


def test_up_in_the_foreground_is_ready_when_it_says_so_and_ctrl_c_stops_all_of_it(node: Node) -> None:
    running = node.start("up")
    expect(running, "HiveMind is up")
    expect(running, "Ctrl-C stops the node")
    document = node.document()
    node.env["HIVEMIND_BRIDGE"] = document["bridge"]
    assert {service["name"] for service in document["services"]} == {"redis", "bridge", "worker", "api", "flower"}
    assert all(service["ready"] for service in document["services"])
    assert b"<html" in get(document["dashboard"]).lower()
    assert get(f"{document['flower']}/healthcheck")
    assert json.loads(get(f"{document['api']}/health"))["status"] == "ok"
    assert node.hivemind("run", BASE, "echo", "ran").stdout == "ran\n"
    code, rest = finish(running, signal.SIGINT)
    assert code == 0
    assert "stopped" in rest
    assert nodefile.read(node.state) is None
    assert not any(processes.is_alive(one["pid"], one["identity"]) for one in document["services"])


def test_a_job_goes_on_while_its_node_is_down_and_is_taken_up_again_whole(node: Node) -> None:
    node.up()
    running = node.start("run", "--id", "survivor", BASE, "sh", "-c", COUNT)
    expect(running, "1")
    running.kill()
    running.communicate()
    assert node.down().returncode == 0
    node.up()
    done = node.hivemind("logs", "-f", "survivor")
    assert done.stdout == COUNTED
    task = node.json("show", "survivor")
    assert (task["state"], task["attempt"], task["log"]["bytes"]) == ("completed", 1, len(COUNTED))


def test_run_outlasts_a_restart_of_the_bridge(node: Node) -> None:
    node.up()
    running = node.start("run", BASE, "sh", "-c", COUNT)
    expect(running, "1")
    os.kill(node.service("bridge"), signal.SIGKILL)
    code, rest = finish(running)
    assert code == 0
    assert rest.splitlines()[-3:] == ["98", "99", "100"]


def test_ten_thousand_waiting_jobs_and_a_running_one_survive_a_kill_of_everything_at_once(node: Node) -> None:
    node.up()
    running = node.start("run", "--id", "survivor", BASE, "sh", "-c", COUNT)
    expect(running, "1")
    running.kill()
    running.communicate()
    document = node.document()
    with closing(open_stores(load_settings(state=node.state, redis_url=document["redis"]))) as stores:
        for start in range(0, 10_000, 500):  # they fit no machine: what counts is that they are there
            many = [new_job(f"w{number}", requests=request(cpu=4000.0)) for number in range(start, start + 500)]
            assert not [answer for answer in stores.jobs.create_many(many) if isinstance(answer, Exception)]
    for pid in [document["pid"], *(service["pid"] for service in document["services"])]:
        os.kill(pid, signal.SIGKILL)
    node.up()
    assert node.hivemind("wait", "survivor").returncode == 0
    assert node.hivemind("logs", "survivor").stdout == COUNTED
    with closing(open_stores(load_settings(state=node.state, redis_url=node.document()["redis"]))) as stores:
        assert stores.jobs.counts()["waiting"] == 10_000
        known = stores.jobs.get_many([f"w{number}" for number in range(10_000)])
        assert {job and (job.state, job.attempt) for job in known} == {(State.WAITING, 0)}
        stores.redis.flushall()  # nobody waits for them to be stopped one by one


def test_down_with_stop_jobs_ends_them_first(node: Node) -> None:
    node.up()
    running = node.start("run", "--id", "running", BASE, "sh", "-c", COUNT)
    expect(running, "1")
    everything = node.json("nodes")["nodes"][0]["allocatable"]["cpu"]
    node.hivemind("submit", "--id", "waiting", "--cpu", str(everything), BASE, "x")
    done = node.down("--stop-jobs", "--grace", "0")
    assert done.returncode == 0
    assert "2 jobs with it" in done.stderr
    assert finish(running)[0] == 130
    left = subprocess.run(["docker", "ps", "-q", "--filter", "name=hm-running-"], capture_output=True, check=True)
    assert left.stdout == b""


def test_a_second_up_is_refused_and_down_twice_is_fine(node: Node) -> None:
    node.up()
    for more in ([], ["--detach"]):
        done = node.hivemind("up", *more)
        assert done.returncode == 1
        assert "a node runs on" in done.stderr
        assert "hivemind down" in done.stderr
    assert node.down().returncode == 0
    done = node.down()
    assert done.returncode == 0
    assert "no node runs" in done.stderr


def test_up_detached_that_fails_says_why_exits_1_and_leaves_nothing_running(node: Node) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        node.env["HIVEMIND_API_PORT"] = str(squatter.getsockname()[1])
        done = node.hivemind("up", "--detach")
    assert (done.returncode, done.stdout) == (1, "")
    assert "choose another with HIVEMIND_API_PORT" in done.stderr
    assert nodefile.read(node.state) is None


def test_a_service_that_cannot_live_is_shown_with_its_last_words(node: Node) -> None:
    (node.state / "redis").mkdir(parents=True)
    broken = node.state / "redis" / "appendonlydir"
    broken.write_text("a file where the server wants a directory")
    done = node.hivemind("up", "--detach", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["message"].startswith("HiveMind did not come up: redis ended")
    assert "appendonlydir" in done.stderr
    assert "redis.log" in done.stderr


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HIVEMIND_API_PORT", "many", "HIVEMIND_API_PORT: "),
        ("HIVEMIND_APIPORT", "1", "did you mean HIVEMIND_API_PORT?"),
        ("HIVEMIND_BRIDGE_HOST", "0.0.0.0", "HIVEMIND_BRIDGE_INSECURE=1"),
        ("HIVEMIND_REDIS_URL", "redis://127.0.0.1:9/0", "HIVEMIND_REDIS_URL: Redis does not answer"),
        ("HIVEMIND_CONFIG", "/none.toml", "HIVEMIND_CONFIG: there is no file"),
    ],
)  # fmt: skip
def test_a_bad_setting_stops_the_start_with_one_line(node: Node, name: str, value: str, says: str) -> None:
    node.env[name] = value
    done = node.hivemind("up")
    assert (done.returncode, done.stdout) == (1, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert not node.state.exists()


def test_two_nodes_live_side_by_side(node: Node, tmp_path: Path) -> None:
    other = Node(tmp_path / "other", "other", HIVEMIND_FLOWER_ENABLED="0")
    node.env["HIVEMIND_FLOWER_ENABLED"] = "0"
    try:
        node.up()
        other.up()
        assert node.hivemind("run", "--id", "same-id", BASE, "echo", "here").stdout == "here\n"
        assert other.hivemind("run", "--id", "same-id", BASE, "echo", "there").stdout == "there\n"
    finally:
        other.end()


def test_an_idle_node_is_light(node: Node) -> None:
    """The bound is the project's own: 250 MB of proportional memory without Flower."""
    node.env["HIVEMIND_FLOWER_ENABLED"] = "0"
    node.up()
    document = node.document()
    pids = [document["pid"], *(service["pid"] for service in document["services"])]
    assert sum(proportional(pid) for pid in pids) < 250 * 1024 * 1024


def proportional(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def test_the_demo_works_and_leaves_only_its_artifacts(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("HIVEMIND_")}
    env |= {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "hivemind_cli.demo"], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all of it worked" in done.stdout
    assert [path.name for path in (tmp_path / "hivemind").iterdir()] == ["demo"]
    assert sorted(path.name for path in (tmp_path / "hivemind" / "demo").iterdir()) == ["primes", "weather", "words"]
