"""How often a service is started again, what is kept of its words, and who a process is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hivemind_cli import nodefile, processes, readiness
from hivemind_cli.logfile import LogFile, tail
from hivemind_cli.plan import Door, Plan, Service
from hivemind_cli.planning import make_plan
from hivemind_cli.probes import NotReady
from hivemind_cli.readiness import worker_announced
from hivemind_cli.redis_files import remove_leftovers
from hivemind_cli.unit import BROKEN, pause_after
from hivemind_worker.settings import load_settings


def test_pauses_double_and_stay_below_half_a_minute() -> None:
    assert [pause_after(n) for n in (1, 2, 3, 4)] == [0.25, 0.5, 1.0, 2.0]
    assert pause_after(50) == pause_after(5000) == 30.0


def test_a_service_that_had_come_up_is_back_soon_unless_it_never_lasts() -> None:
    assert [pause_after(n, was_ready=True) for n in (1, 2, 3, 4, BROKEN)] == [0.25, 0.5, 1.0, 1.0, 1.0]
    assert pause_after(BROKEN + 1, was_ready=True) == 30.0


def test_a_log_never_outgrows_its_bound_and_keeps_the_newest(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "x.log", limit=100, older=2)
    for number in range(100):
        log.write(f"line {number:03d}\n".encode())
    log.close()
    files = sorted(tmp_path.iterdir())
    assert [path.name for path in files] == ["x.log", "x.log.1", "x.log.2"]
    assert all(path.stat().st_size <= 100 for path in files)
    assert tail(tmp_path / "x.log", 1) == ["line 099"]


def test_a_log_that_cannot_be_opened_or_moved_loses_lines_and_takes_the_next_ones(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.mkdir()
    log = LogFile(path, limit=10, older=1)
    log.write(b"lost\n")
    path.rmdir()
    log.write(b"kept\n")
    blocker = tmp_path / "x.log.1"
    blocker.mkdir()
    log.write(b"lost too\n")
    assert path.read_bytes() == b"kept\n"
    blocker.rmdir()
    log.write(b"kept too\n")
    log.close()
    assert path.read_bytes() == b"kept too\n"


def test_a_restarted_supervisor_goes_on_in_the_same_log(tmp_path: Path) -> None:
    for text in (b"one\n", b"two\n"):
        log = LogFile(tmp_path / "x.log")
        log.write(text)
        log.close()
    assert tail(tmp_path / "x.log", 9) == ["one", "two"]


def test_a_process_is_known_by_more_than_its_number() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        who = processes.identity(child.pid)
        assert who is not None
        assert processes.is_alive(child.pid, who)
        assert not processes.is_alive(child.pid, "another boot:1")
        assert not processes.end(child.pid, "another boot:1", patience=5), "a stranger with that number stays unharmed"
        assert child.poll() is None
        assert processes.end(child.pid, who, patience=5)
    finally:
        child.communicate()
    assert processes.identity(child.pid) is None


def test_a_process_that_does_not_listen_is_killed() -> None:
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert processes.end(child.pid, processes.identity(child.pid) or "", patience=0.05)
        assert child.wait() == -9


def test_node_json_is_for_its_user_alone(tmp_path: Path) -> None:
    nodefile.write(tmp_path, {"pid": os.getpid(), "identity": processes.identity(os.getpid())})
    assert (tmp_path / "node.json").stat().st_mode & 0o777 == 0o600
    assert nodefile.runs(nodefile.read(tmp_path))
    nodefile.remove(tmp_path)
    assert nodefile.read(tmp_path) is None


def test_a_node_json_that_is_damaged_is_no_node(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text('{"pid": 1')
    assert nodefile.read(tmp_path) is None


def test_half_a_node_json_of_a_killed_supervisor_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".node.json.17").write_text("{")
    (tmp_path / "node.json").write_text("{}")
    nodefile.remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["node.json"]


def test_what_a_killed_redis_was_writing_is_removed_and_nothing_else(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = [f"temp-rewriteaof-{ended.pid}.aof", f"temp-rewriteaof-bg-{ended.pid}.aof", f"temp-{ended.pid}.rdb"]
    kept = ["appendonlydir", "temp-1x.rdb", "temp-.rdb", "dump.rdb"]
    for name in dead + kept:
        (tmp_path / name).write_text("x")
    assert sorted(remove_leftovers(tmp_path)) == sorted(dead)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    assert remove_leftovers(tmp_path / "nowhere") == []


def test_a_plan_survives_its_way_to_the_supervisor() -> None:
    service = Service("x", ("a", "b"), {"kind": "redis", "at": "/s"}, stage=0, grace=1.5)
    plan = Plan("n", "/s", "1", "unix:///s", ("/s",), (service,), (Door("bridge", "0.0.0.0", 1, "X"),), ("careful",))
    assert Plan.from_json(plan.to_json()) == plan


def test_redis_is_not_started_when_there_is_one_and_no_password_is_on_a_command_line(tmp_path: Path) -> None:
    settings = load_settings(state=tmp_path, redis_url="redis://:hush@elsewhere:6379/0")
    plan, env = make_plan(settings)
    assert [service.name for service in plan.services] == ["bridge", "api", "worker", "flower"]
    assert not any("hush" in word for service in plan.services for word in service.argv)
    assert "HIVEMIND_REDIS_URL" not in env, "it travels in the environment that is there already"


def test_a_port_of_zero_becomes_a_free_one_that_every_service_hears_of(tmp_path: Path) -> None:
    plan, env = make_plan(load_settings(state=tmp_path, bridge_port=0, api_port=0, flower_port=0))
    ports = {door.port for door in plan.doors}
    assert len(ports) == 3
    assert 0 not in ports
    assert {env["HIVEMIND_BRIDGE_PORT"], env["HIVEMIND_API_PORT"], env["HIVEMIND_FLOWER_PORT"]} == set(map(str, ports))


def test_without_flower_nothing_of_it_is_planned(tmp_path: Path) -> None:
    plan, _ = make_plan(load_settings(state=tmp_path, flower_enabled=False))
    assert plan.door("flower") is None
    assert "flower" not in [service.name for service in plan.services]


PROBE = {"node": "n", "worker": "worker@n", "same_clock": True}
ROW = {"node": "n", "state": "up", "workers": ["worker@n"], "heartbeat": "2026-01-01T00:00:10.000Z"}


def test_a_clock_that_was_set_back_does_not_keep_a_worker_from_being_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "http_json", lambda *_: {"nodes": [ROW]})
    monkeypatch.setattr("hivemind_cli.readiness.time.time", lambda: 1767225600.0)
    readiness.check({**PROBE, "kind": "worker", "at": ["127.0.0.1", 1]}, started=1767229200.0)


def test_a_worker_is_ready_once_its_node_has_a_heartbeat_newer_than_its_process() -> None:
    worker_announced({"nodes": [ROW]}, PROBE, started=1767225609.0)


@pytest.mark.parametrize(
    "change",
    [{"node": "other"}, {"state": "down"}, {"workers": []}, {"heartbeat": "2026-01-01T00:00:08.000Z"}],
)
def test_a_worker_is_not_ready_on_an_old_lease_or_anothers_word(change: dict[str, object]) -> None:
    with pytest.raises(NotReady):
        worker_announced({"nodes": [{**ROW, **change}]}, PROBE, started=1767225609.0)
