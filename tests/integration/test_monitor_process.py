"""`python -m hivemind_worker.monitor` as a process: how it starts, streams and ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import Settings
from tests.builders import new_job
from tests.processes import environment
from tests.serving import monitor_process, watching
from tests.site import Site


@pytest.fixture
def url(settings: Settings, stores: Stores, tmp_path: Path) -> Iterator[str]:
    with monitor_process(settings, tmp_path / "monitor.log") as (_, address):
        yield address


# --- starting and ending ----------------------------------------------------------------------------------


def refusal(settings: Settings, **extra: str) -> str:
    """Its one line, when it refuses to start."""
    command = [sys.executable, "-m", "hivemind_worker.monitor"]
    done = subprocess.run(command, env=environment(settings, **extra), capture_output=True, text=True, timeout=30)
    assert done.returncode == 2, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_bad_setting_stops_the_start_with_one_line_that_names_it(settings: Settings) -> None:
    assert "HIVEMIND_API_PORT" in refusal(settings, HIVEMIND_API_PORT="70000")
    assert "HIVEMIND_API_PROT" in refusal(settings, HIVEMIND_API_PROT="1")


def test_beyond_loopback_it_does_not_listen_unless_told_that_nobody_checks_callers(settings: Settings) -> None:
    assert "HIVEMIND_API_INSECURE" in refusal(settings, HIVEMIND_API_HOST="0.0.0.0")


def test_a_port_in_use_stops_the_start_with_one_line_that_names_it(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        line = refusal(settings, HIVEMIND_API_PORT=port)
    assert "HIVEMIND_API_PORT" in line
    assert port in line


def test_a_state_directory_that_cannot_be_made_stops_the_start_with_one_line(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert "HIVEMIND_STATE" in refusal(settings, HIVEMIND_STATE=str(tmp_path / "file" / "state"), HIVEMIND_API_PORT="0")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_open_streams_in_order_and_is_no_failure(
    settings: Settings, site: Site, tmp_path: Path, number: signal.Signals
) -> None:
    site.submit()
    output = tmp_path / "monitor.log"
    with (
        monitor_process(settings, output) as (child, address),
        watching(address, "/api/events") as feed,
        watching(address, "/api/tasks/t1/logs?follow=1") as log,
    ):
        feed.until("nodes")
        child.send_signal(number)
        assert child.wait(10) == 0
        assert set(feed.rest()) <= {"state", "tasks", "nodes", "store"}
        assert log.rest() == []
    assert "Traceback" not in output.read_text()
    assert "monitor stopped" in output.read_text()


def test_a_stop_does_not_wait_for_a_client_that_reads_nothing(settings: Settings, site: Site, tmp_path: Path) -> None:
    site.announce()
    site.start()
    site.write("t1", *[b"x" * 60_000] * 100)
    with monitor_process(settings, tmp_path / "monitor.log") as (child, address):
        host, _, port = address.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as deaf:
            deaf.sendall(b"GET /api/tasks/t1/logs?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert deaf.recv(1)
            child.terminate()
            assert child.wait(10) == 0


def test_it_stays_small_by_leaving_out_what_it_does_not_need(settings: Settings, tmp_path: Path) -> None:
    script = "import sys, hivemind_worker.monitor.__main__; print(*(n for n, m in sys.modules.items() if m))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(settings), capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & {"docker", "celery", "kombu", "grpc", "sqlalchemy", "rich", "psutil", "pynvml"} == set()


# --- the live feed ----------------------------------------------------------------------------------------


def test_a_watcher_is_told_of_every_change_with_the_job_as_it_is(url: str, site: Site) -> None:
    with watching(url, "/api/events") as events:
        events.until("nodes")
        site.announce()
        job = site.start(owner="ada")
        site.end(job, Cause.OOM, evidence="seen")
        seen = []
        while seen[-1:] != ["failed"]:
            event_id, data = events.until("state", task_id="t1")
            assert event_id == data["id"]
            seen.append(data["state"])
        assert seen == ["waiting", "admitted", "preparing", "running", "collecting", "failed"]
        assert data["cause"] == "oom"
        _, told = events.until("tasks")
        while told["tasks"][-1]["state"] != "failed":
            _, told = events.until("tasks")
        assert told["tasks"][-1] == httpx.get(f"{url}/api/tasks/t1").json()


def test_a_watcher_misses_nothing_that_happens_while_the_feed_wakes_up_for_it(url: str, site: Site) -> None:
    for number in range(10):
        with watching(url, "/api/events") as events:
            site.submit(f"t{number}")
            events.until("state", task_id=f"t{number}")


def test_a_watcher_that_comes_back_is_told_what_it_missed_once(url: str, site: Site) -> None:
    with watching(url, "/api/events") as events:
        events.until("nodes")
        site.submit("t1")
        last, _ = events.until("state", task_id="t1")
    site.submit("t2")
    site.submit("t3")
    with watching(url, "/api/events", **{"Last-Event-ID": last}) as events:
        missed = [events.until("state")[1]["task_id"] for _ in range(2)]
        site.submit("t4")
        assert [*missed, events.until("state")[1]["task_id"]] == ["t2", "t3", "t4"]


def test_a_watcher_from_another_life_of_redis_is_told_to_load_anew(url: str, site: Site) -> None:
    with watching(url, "/api/events", **{"Last-Event-ID": "99999999999999-0"}) as events:
        events.until("resync")
        site.submit()
        events.until("state", task_id="t1")


def test_more_changes_at_once_than_fit_ask_for_a_reload(url: str, site: Site) -> None:
    with watching(url, "/api/events") as events:
        events.until("nodes")
        site.stores.jobs.create_many([new_job(f"t{number}") for number in range(300)])
        events.until("tasks", reload=True)
        assert httpx.get(f"{url}/api/status").json()["waiting"] == 300


def test_the_nodes_are_told_and_why_a_job_waits_when_that_changes(url: str, site: Site) -> None:
    site.submit()
    with watching(url, "/api/events") as events:
        _, told = events.until("tasks")
        assert "no worker" in told["tasks"][0]["waiting"]["reason"]
        site.announce()
        _, told = events.until("tasks")
        assert "fits" in told["tasks"][0]["waiting"]["reason"]
        while not told.get("nodes"):
            _, told = events.until("nodes")
        assert told["nodes"][0]["node"] == "n1"


def test_a_log_is_followed_live_resumed_without_gap_or_repeat_and_ends_with_the_job(url: str, site: Site) -> None:
    site.announce()
    job = site.start()
    path = "/api/tasks/t1/logs?follow=true"
    with watching(url, path) as events:
        site.write("t1", b"one\n")
        assert events.until("chunk")[1]["text"] == "one\n"
        site.write("t1", b"two\n", first=2)
        last, _ = events.until("chunk")
    site.write("t1", b"three\n", first=3)
    with watching(url, path, **{"Last-Event-ID": last}) as events:
        assert events.until("chunk")[1]["number"] == 3
        site.write("t1", b"four\n", first=4)
        site.end(job)
        assert events.until("chunk")[1]["number"] == 4
        assert events.until("end")[1] == {"state": "completed", "cause": "ok", "exit_code": 0}
        assert events.rest() == []


def test_clients_that_hang_up_in_the_middle_leave_nothing_behind(url: str, site: Site) -> None:
    site.announce()
    site.start()
    for _ in range(20):
        with watching(url, "/api/tasks/t1/logs?follow=1"), watching(url, "/api/events") as events:
            events.next()
    for _ in range(200):
        if not site.stores.redis.pubsub_numpat():
            return
        threading.Event().wait(0.1)
    pytest.fail("still listening to Redis although nobody watches")
