"""The supervisor with real children: small programs of ours in the place of the node's services."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from hivemind_cli import nodefile, processes
from hivemind_cli.plan import Door, Plan, Service
from hivemind_cli.planning import free_port
from hivemind_cli.preparing import lock_state
from hivemind_cli.stopping import end_dead_node, running_node
from tests.disks import fill, small_disk

#: answers GET with 200; says when it was told to leave; `deaf` does not leave
SERVER = """
import http.server, os, signal, sys
port, order, deaf = int(sys.argv[1]), sys.argv[2], sys.argv[3] == "deaf"
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
def leave(*_):
    with open(order, "a") as file: print(port, file=file)
    if not deaf: os._exit(0)
signal.signal(signal.SIGTERM, leave)
print("serving", flush=True)
http.server.HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


#: a supervisor on a machine that has no room for another process while the file argv[1] is there
NO_ROOM = """
import os, sys
from pathlib import Path
from hivemind_cli import processes, supervisor
there, number = Path(sys.argv.pop(1)), int(sys.argv.pop(1))
real = processes.start
def start(*args):
    if there.exists():
        raise OSError(number, os.strerror(number))
    return real(*args)
processes.start = start
supervisor.main()
"""


class Running:
    """A supervisor in the foreground; what it says is read line by line."""

    def __init__(self, plan: Plan, program: Sequence[str] = ("-m", "hivemind_cli.supervisor")) -> None:
        descriptor = os.memfd_create("plan", 0)
        os.write(descriptor, plan.to_json().encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        root = str(Path(__file__).parents[2])
        self.process = subprocess.Popen(
            [sys.executable, *program, "--plan-fd", str(descriptor)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, pass_fds=(descriptor,),
            env={**os.environ, "PYTHONPATH": root},
        )  # fmt: skip
        os.close(descriptor)
        self.said: list[str] = []
        self.state = Path(plan.state)

    def expect(self, pattern: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if re.search(pattern, line):
                return line
        raise AssertionError(f"it never said {pattern!r}:\n{''.join(self.said)}")

    def pid(self, name: str) -> int:
        document = nodefile.read(self.state)
        assert document is not None
        return int(next(service["pid"] for service in document["services"] if service["name"] == name))

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.wait()


class Site:
    """A state directory and the plans for it."""

    def __init__(self, state: Path, stack: ExitStack) -> None:
        self.state, self.order, self._stack = state, state.parent / "order", stack
        self.no_room = state.parent / "no room"
        self.ports = {name: free_port() for name in ("bridge", "api")}

    def service(
        self, name: str, stage: int, *, grace: float = 5.0, mood: str = "polite", program: str = sys.executable
    ) -> Service:
        port = self.ports[name]
        argv = (program, "-c", SERVER, str(port), str(self.order), mood)
        return Service(name, argv, {"kind": "http", "at": ["127.0.0.1", port], "path": "/"}, stage, grace)

    def plan(self, *services: Service) -> Plan:
        doors = tuple(Door(name, "127.0.0.1", port, f"THE_{name.upper()}_PORT") for name, port in self.ports.items())
        folders = (str(self.state), str(self.state / "logs"))
        return Plan("n", str(self.state), "0", "unix:///none", folders, services, doors)

    def usual(self) -> Plan:
        return self.plan(self.service("bridge", 1), self.service("api", 2))

    def start(self, plan: Plan, refusing: int = 0) -> Running:
        """`refusing`: the error of every start of a service while `no_room` is there."""
        running = Running(plan, ("-c", NO_ROOM, str(self.no_room), str(refusing))) if refusing else Running(plan)
        self._stack.callback(running.close)
        return running


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path / "state", stack)


def wait_gone(pid: int) -> None:
    """Told by the kernel, not asked again and again."""
    try:
        with processes.Handle(pid, processes.identity(pid) or "") as handle:
            assert handle.wait(30)
    except ProcessLookupError:
        return


def test_a_service_that_cannot_start_ends_the_start_with_its_last_words_and_leaves_nothing(site: Site) -> None:
    argv = (sys.executable, "-c", "exit('no such thing as a free lunch')")
    broken = Service("api", argv, {"kind": "http", "at": ["127.0.0.1", site.ports["api"]]}, 2, 1)
    running = site.start(site.plan(site.service("bridge", 1), broken))
    running.expect(r"\| no such thing as a free lunch")
    running.expect("error: HiveMind did not come up: api ended with exit code 1")
    assert running.process.wait() == 1
    assert nodefile.read(site.state) is None
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", site.ports["bridge"])) != 0


def test_a_port_that_is_taken_is_named_with_its_setting_before_anything_starts(site: Site) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", site.ports["api"]))
        squatter.listen()
        running = site.start(site.usual())
        running.expect(f"port {site.ports['api']} .* choose another with THE_API_PORT")
        assert running.process.wait() == 1
    assert not site.state.exists()


def test_a_refused_start_takes_back_only_what_it_made(site: Site) -> None:
    mine = site.state / "logs" / "mine"
    mine.parent.mkdir(parents=True)
    mine.write_text("kept")
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", site.ports["api"]))
        squatter.listen()
        assert site.start(site.usual()).process.wait() == 1
    assert [str(path.relative_to(site.state)) for path in sorted(site.state.rglob("*"))] == ["logs", "logs/mine"]


def test_a_second_node_on_the_same_state_is_refused_and_the_first_goes_on(site: Site) -> None:
    first = site.start(site.usual())
    first.expect("HiveMind is up")
    second = site.start(site.usual())
    second.expect(f"a node runs on .* already .process {first.process.pid}.; 'hivemind down")
    assert second.process.wait() == 1
    assert first.process.poll() is None
    assert nodefile.runs(nodefile.read(site.state))


def test_a_service_that_dies_is_started_again(site: Site) -> None:
    running = site.start(site.usual())
    running.expect("Ctrl-C stops")
    before = running.pid("api")
    os.kill(before, signal.SIGKILL)
    running.expect("api was killed by SIGKILL; starting it again in 0.25 s")
    running.expect("api is ready")
    assert running.pid("api") != before
    assert running.stop() == 0


def test_a_full_disk_ends_no_node_and_once_there_is_room_node_json_is_true_again(site: Site) -> None:
    with small_disk(site.state), closing(Running(site.usual())) as running:
        running.expect("Ctrl-C stops")
        fill(site.state)
        os.kill(before := running.pid("api"), signal.SIGKILL)
        running.expect(r"node.json cannot be written \(No space left on device\)")
        running.expect("api was killed by SIGKILL; starting it again")
        running.expect("api is ready")
        running.expect("node.json cannot be written")
        assert [path.name for path in site.state.glob(".node.json*")] == []
        assert running.pid("api") == before
        (site.state / "filler").unlink()
        os.kill(running.pid("bridge"), signal.SIGKILL)
        running.expect("bridge is ready")
        assert running.stop() == 0
        assert nodefile.read(site.state) is None


def test_a_node_on_a_full_disk_stops_in_order(site: Site) -> None:
    with small_disk(site.state), closing(Running(site.usual())) as running:
        running.expect("Ctrl-C stops")
        fill(site.state)
        assert running.stop() == 0
        assert sorted(path.name for path in site.state.iterdir()) == ["filler", "logs", "node.lock"]


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM, errno.ENOSPC, errno.EMFILE])
def test_a_machine_without_room_for_a_process_ends_no_node_and_has_it_back_once_there_is(
    site: Site, number: int
) -> None:
    running = site.start(site.usual(), refusing=number)
    running.expect("Ctrl-C stops")
    site.no_room.touch()
    os.kill(running.pid("api"), signal.SIGKILL)
    running.expect(rf"api: .* cannot be started: .*{os.strerror(number)}; trying again in 0.5 s")
    running.expect("api: .* cannot be started: .*; trying again in 1 s")
    site.no_room.unlink()
    running.expect("api is ready")
    assert running.stop() == 0


def test_a_supervisor_without_a_descriptor_to_spare_goes_on_and_mends_once_it_has_some(site: Site) -> None:
    running = site.start(site.usual())
    running.expect("Ctrl-C stops")
    pid, victim = running.process.pid, running.pid("api")
    most = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most + 1, before[1]))
    os.kill(victim, signal.SIGKILL)
    running.expect("api: .* cannot be started: .*Too many open files")
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    running.expect("api is ready")
    assert running.pid("api") != victim
    assert running.stop() == 0


def test_a_program_that_is_gone_for_a_while_ends_no_node(site: Site, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.symlink_to(sys.executable)
    running = site.start(site.plan(site.service("bridge", 1), site.service("api", 2, program=str(program))))
    running.expect("Ctrl-C stops")
    program.unlink()
    os.kill(running.pid("api"), signal.SIGKILL)
    running.expect("api: .* cannot be started: .*No such file")
    program.symlink_to(sys.executable)
    running.expect("api is ready")
    assert running.stop() == 0


def test_a_program_that_was_never_there_ends_the_start(site: Site) -> None:
    running = site.start(site.plan(site.service("api", 1, program="/nowhere/python")))
    running.expect("error: HiveMind did not come up: api /nowhere/python cannot be started")
    assert running.process.wait() == 1


def test_a_service_that_is_killed_again_and_again_is_back_within_a_second_each_time(site: Site) -> None:
    running = site.start(site.usual())
    running.expect("Ctrl-C stops")
    pauses = []
    for _ in range(8):
        os.kill(running.pid("api"), signal.SIGKILL)
        said = running.expect("api was killed by SIGKILL; starting it again in")
        pauses.append(float(said.split(" in ")[1].split(" s")[0]))
        running.expect("api is ready")
    assert pauses == [0.25, 0.5, 1, 1, 1, 1, 1, 1]
    assert running.stop() == 0


def test_down_waits_for_a_node_that_is_just_coming_up(site: Site) -> None:
    site.state.mkdir()
    lock = lock_state(site.state, [])
    threading.Timer(0.3, os.close, [lock]).start()
    assert running_node(site.state) is None, "it was given up meanwhile"
    assert end_dead_node(site.state) == []


def test_down_leaves_a_node_alone_that_takes_a_dead_ones_place(site: Site) -> None:
    first = site.start(site.usual())
    first.expect("Ctrl-C stops")
    document = nodefile.read(site.state)
    assert first.stop() == 0
    second = site.start(site.usual())
    second.expect("Ctrl-C stops")
    assert document is not None
    assert end_dead_node(site.state) == [], "the second has the state"
    assert nodefile.runs(nodefile.read(site.state))
    assert second.stop() == 0


def test_what_a_service_says_is_in_its_log(site: Site) -> None:
    running = site.start(site.usual())
    running.expect("HiveMind is up")
    assert running.stop() == 0
    assert (site.state / "logs" / "api.log").read_text() == "serving\n"


def test_a_stop_goes_backwards_through_the_stages_and_takes_node_json_away(site: Site) -> None:
    running = site.start(site.usual())
    running.expect("HiveMind is up")
    running.process.send_signal(signal.SIGINT)
    running.expect("stopped")
    assert running.process.wait() == 0
    assert site.order.read_text().split() == [str(site.ports["api"]), str(site.ports["bridge"])]
    assert nodefile.read(site.state) is None


def test_a_service_that_does_not_leave_is_killed_after_its_grace(site: Site) -> None:
    running = site.start(site.plan(site.service("bridge", 1), site.service("api", 2, grace=0.2, mood="deaf")))
    running.expect("HiveMind is up")
    running.process.terminate()
    running.expect("api did not leave in time; killed")
    assert running.process.wait() == 0


def test_the_services_of_a_killed_supervisor_leave_and_the_next_one_starts(site: Site) -> None:
    first = site.start(site.usual())
    first.expect("HiveMind is up")
    pids = [first.pid("api"), first.pid("bridge")]
    first.process.kill()
    for pid in pids:
        wait_gone(pid)
    second = site.start(site.usual())
    second.expect("HiveMind is up")
    assert second.stop() == 0


def test_a_deaf_service_of_a_killed_supervisor_is_ended_by_the_next_one(site: Site) -> None:
    first = site.start(site.plan(site.service("bridge", 1, mood="deaf"), site.service("api", 2)))
    first.expect("HiveMind is up")
    deaf = first.pid("bridge")
    first.process.kill()
    first.process.wait()
    second = site.start(site.usual())
    second.expect("ended bridge, left over from a node that was killed")
    second.expect("HiveMind is up")
    assert processes.identity(deaf) is None
    assert second.stop() == 0


def test_a_directory_that_cannot_be_made_is_said(tmp_path: Path, site: Site) -> None:
    (tmp_path / "state").write_text("a file is here already")
    running = site.start(site.usual())
    running.expect("cannot make the directory")
    assert running.process.wait() == 1
