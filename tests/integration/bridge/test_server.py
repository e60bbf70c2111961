"""The bridge as a process and as a server: how it starts, what it says of itself, how it stops."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from bridge.client import Client
from hivemind_worker.bootstrap import Stores
from hivemind_worker.settings import Settings
from tests.integration.bridge.conftest import OwnRedis, refused, running
from tests.processes import environment
from tests.site import Site

SERVICES = {"hivemind.v1.TaskService", "hivemind.v1.NodeControlService"}
Health = health_pb2.HealthCheckResponse


class Process:
    """`python -m bridge`, its log read as it comes."""

    def __init__(self, settings: Settings, **extra: str) -> None:
        command = [sys.executable, "-X", "dev", "-m", "bridge"]
        env = environment(settings, **{"NODE_PORT": "0", "HIVEMIND_FLOWER_ENABLED": "0"} | extra)
        self.child = subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)
        self.said = ""

    def until(self, words: str) -> str:
        """The first line that holds these words."""
        assert self.child.stderr is not None
        for line in self.child.stderr:
            self.said += line
            if words in line:
                return line
        raise AssertionError(f"it never said {words!r}:\n{self.said}")

    def end(self, sign: int = signal.SIGTERM) -> int:
        """Stop it; the exit code."""
        self.child.send_signal(sign)
        assert self.child.stderr is not None
        self.said += self.child.stderr.read()
        return self.child.wait(20)


@contextmanager
def process(settings: Settings, **extra: str) -> Iterator[tuple[Process, str]]:
    """A bridge process that is ready; with its address."""
    started = Process(settings, **extra)
    watchdog = threading.Timer(60, started.child.kill)
    watchdog.start()
    try:
        address = re.search(r"address=(\S+)", started.until("bridge ready"))
        assert address
        yield started, address[1]
    finally:
        watchdog.cancel()
        if started.child.poll() is None:
            started.child.kill()
            started.child.wait(10)
        if started.child.stderr is not None:
            started.child.stderr.close()


def run_to_end(settings: Settings, **extra: str) -> tuple[int, str]:
    """A bridge process that should not get far: exit code and what it said."""
    env = environment(settings, **{"NODE_PORT": "0"} | extra)
    done = subprocess.run([sys.executable, "-m", "bridge"], env=env, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_it_says_once_that_it_is_ready_and_leaves_in_order_when_told(
    stores: Stores, settings: Settings, sign: int
) -> None:
    with process(settings) as (started, address), Client(address) as client:
        client.assign({"task_id": "t1"})
        assert started.end(sign) == 0
    assert started.said.count("bridge ready") == 1
    assert "Traceback" not in started.said
    assert "Warning" not in started.said


def test_it_stops_while_somebody_follows_and_redis_hangs(
    own_redis: OwnRedis, own_stores: tuple[Stores, Settings]
) -> None:
    stores, settings = own_stores
    Site(stores).submit()
    with process(settings) as (started, address), Client(address) as client:
        assert next(client.watch("t1"))["state"] == "waiting"
        own_redis.freeze()
        assert started.end() == 0


def test_a_second_bridge_on_the_port_says_so_in_one_line(stores: Stores, settings: Settings) -> None:
    with process(settings) as (_, address):
        port = address.rpartition(":")[2]
        code, said = run_to_end(settings, NODE_PORT=port)
        assert code == 2
        assert said.count("\n") == 1
        assert "HIVEMIND_BRIDGE_PORT" in said
        assert "already in use" in said
        with Client(address) as client:
            assert client.healthy()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"HIVEMIND_BRIDGE_PROT": "1"}, "did you mean HIVEMIND_BRIDGE_PORT?"),
        ({"NODE_PORT": "99999"}, "65535"),
        ({"HIVEMIND_BRIDGE_HOST": "0.0.0.0"}, "HIVEMIND_BRIDGE_INSECURE=1"),
        ({"HIVEMIND_BRIDGE_HOST": "203.0.113.7", "HIVEMIND_BRIDGE_INSECURE": "1"}, "assign requested address"),
    ],
)
def test_a_setting_that_does_not_work_ends_the_start_with_one_line(
    settings: Settings, wrong: dict[str, str], says: str
) -> None:
    code, said = run_to_end(settings, **wrong)
    assert (code, said.count("\n"), says in said) == (2, 1, True), said


def test_beyond_loopback_it_warns_loudly(stores: Stores, settings: Settings) -> None:
    with process(settings, HIVEMIND_BRIDGE_HOST="0.0.0.0", HIVEMIND_BRIDGE_INSECURE="1") as (started, address):
        assert "ANYONE WHO REACHES THIS ADDRESS CAN RUN CONTAINERS HERE" in started.said
        with Client(address.replace("0.0.0.0", "127.0.0.1")) as client:
            assert client.healthy()


def test_it_can_listen_on_a_unix_socket(stores: Stores, settings: Settings, tmp_path: Path) -> None:
    with process(settings, HIVEMIND_BRIDGE_HOST=f"unix:{tmp_path}/b.sock") as (_, address), Client(address) as client:
        assert client.assign({"task_id": "t1"})["created"]


def test_it_starts_without_redis_and_serves_once_it_is_there(
    own_redis: OwnRedis, own_stores: tuple[Stores, Settings]
) -> None:
    _, settings = own_stores
    own_redis.stop()
    with process(settings) as (started, address), Client(address) as client:
        assert not client.healthy()
        with refused("UNAVAILABLE", says="Redis"):
            client.assign({"task_id": "t1"})
        own_redis.start()
        started.until("redis answers again")
        assert client.assign({"task_id": "t1"})["created"]


def test_reflection_lists_the_services_and_tells_their_messages(channel: grpc.Channel) -> None:
    ask = reflection_pb2.ServerReflectionRequest
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    requests = [ask(list_services=""), ask(file_containing_symbol="hivemind.v1.TaskService")]
    listed, described = stub.ServerReflectionInfo(iter(requests), timeout=10)
    names = {service.name for service in listed.list_services_response.service}
    assert names >= SERVICES | {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert any(b"AssignTask" in file for file in described.file_descriptor_response.file_descriptor_proto)


def test_health_follows_redis_and_comes_back(own_redis: OwnRedis, own_stores: tuple[Stores, Settings]) -> None:
    stores, settings = own_stores
    with running(stores, settings) as address, grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = {
            name: stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=60) for name in ("", *SERVICES)
        }
        for status, act in ((Health.SERVING, own_redis.stop), (Health.NOT_SERVING, own_redis.start)):
            for watch in watches.values():
                assert any(answer.status == status for answer in watch)
            act()
        for watch in watches.values():
            assert any(answer.status == Health.SERVING for answer in watch)
            watch.cancel()


def test_health_of_a_service_that_is_not_there_is_not_found(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="nope"), timeout=10)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_method_that_is_not_there_is_unimplemented(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/hivemind.v1.TaskService/Format")(b"", timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_nobody_answering_is_said_in_plain_words() -> None:
    with Client("127.0.0.1:1") as client:
        assert not client.healthy()
        with refused("UNAVAILABLE", says="no bridge answers at 127.0.0.1:1"):
            client.get("t1")


def test_a_bridge_that_hangs_runs_into_the_deadline(stores: Stores, settings: Settings) -> None:
    with process(settings) as (started, address):
        with Client(address, deadline=0.2) as client:
            assert client.healthy(20)
            started.child.send_signal(signal.SIGSTOP)
            with refused("DEADLINE_EXCEEDED", says="did not answer in time"):
                client.list()
        started.child.send_signal(signal.SIGCONT)
        assert started.end() == 0


def test_a_token_travels_as_a_bearer() -> None:
    seen: list[str] = []

    class Listener(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            seen.extend(value for key, value in details.invocation_metadata if key == "authorization")
            return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")

    from concurrent.futures import ThreadPoolExecutor

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Listener()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with Client(f"127.0.0.1:{port}", token="s3cret") as client:
            client.get("t1")
    finally:
        server.stop(None).wait(5)
    assert seen == ["Bearer s3cret"]


def test_the_client_loads_nothing_heavy() -> None:
    code = (
        "import sys; from bridge.client import Client; Client('127.0.0.1:1').healthy(0.1);"
        "heavy = ('pydantic', 'celery', 'redis', 'rich', 'structlog', 'hivemind_worker');"
        "print([name for name in heavy if name in sys.modules])"
    )
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": root}
    )
    assert done.stdout.strip() == "[]", done.stderr
