"""AssignTask: what is taken is durable, what is refused is named and leaves nothing."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from bridge.client import Client
from bridge.wire.hivemind.v1 import task_pb2, task_pb2_grpc
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import State
from hivemind_worker.settings import Settings
from tests.integration.bridge.conftest import OwnRedis, bridge_settings, refused, running
from tests.site import Site

BAD: list[tuple[dict[str, Any], str]] = [
    ({"task_id": ""}, "task_id"),
    ({"task_id": "-starts-with-a-dash"}, "task_id"),
    ({"task_id": "a" * 65}, "task_id"),
    ({"task_id": "has space"}, "task_id"),
    ({"task_id": "line\nbreak"}, "task_id"),
    ({"task_id": "../../etc/passwd"}, "task_id"),
    ({"task_id": "é"}, "task_id"),
    ({"image": "Not An Image"}, "image"),
    ({"image": "--privileged"}, "image"),
    ({"image": "a" * 600}, "image"),
    ({"command": ["a\0b"]}, "command"),
    ({"command": [""]}, "command"),
    ({"command": ["x" * 200_000]}, "command"),
    ({"bundle_sha256": "../x"}, "bundle_sha256"),
    ({"bundle_sha256": "0" * 64}, "bundle_sha256"),
    ({"env": {"1BAD": "x"}}, "env"),
    ({"env": {"A=B": "x"}}, "env"),
    ({"env": {"A": "x\0y"}}, "env"),
    ({"env": {"A": "x" * 300_000}}, "env"),
    ({"env": {"K" * 5000: "=" * 300_000}}, "env"),
    ({"secrets": {"1BAD": "hunter2"}}, "secrets"),
    ({"env": {"A": "1"}, "secrets": {"A": "2"}}, "secrets"),
    ({"requests": {"cpu": 0.0}}, "requests.cpu"),
    ({"requests": {"cpu": -1.0}}, "requests.cpu"),
    ({"requests": {"cpu": math.nan}}, "requests.cpu"),
    ({"requests": {"cpu": math.inf}}, "requests.cpu"),
    ({"requests": {"cpu": 1e300}}, "requests.cpu"),
    ({"requests": {"memory": 0}}, "requests.memory"),
    ({"requests": {"memory": -1}}, "requests.memory"),
    ({"requests": {"memory": 2**63 - 1}}, "requests.memory"),
    ({"requests": {"gpus": -1}}, "requests.gpus"),
    ({"requests": {"gpu_memory": -5}}, "requests.gpu_memory"),
    ({"requests": {"disk": 0}}, "requests.disk"),
    ({"requests": {"pids": 0}}, "requests.pids"),
    ({"timeout_seconds": 0.0}, "timeout_seconds"),
    ({"timeout_seconds": -1.0}, "timeout_seconds"),
    ({"timeout_seconds": math.nan}, "timeout_seconds"),
    ({"timeout_seconds": math.inf}, "timeout_seconds"),
    ({"priority": -1}, "priority"),
    ({"priority": 10}, "priority"),
    ({"network": "host"}, "network"),
    ({"retries": -1}, "retries"),
    ({"owner": "a\x1b[31mb"}, "owner"),
    ({"owner": "x" * 200}, "owner"),
]


@pytest.mark.parametrize(("wrong", "field"), BAD, ids=[f"{f}-{i}" for i, (_, f) in enumerate(BAD)])
def test_a_wrong_field_is_named_and_leaves_nothing(
    bridge: Client, stores: Stores, wrong: dict[str, Any], field: str
) -> None:
    with refused("INVALID_ARGUMENT", field):
        bridge.assign({"task_id": "t1", "image": "busybox", **wrong})
    kept = {key for key in stores.redis.keys("*") if b":outbox:" not in key}
    assert kept <= {stores.keys.events.encode()}
    assert stores.redis.xlen(stores.keys.events) == 0


def test_a_job_that_can_never_fit_is_told_what_is_too_large(bridge: Client, stores: Stores, site: Site) -> None:
    site.announce(millicores=4000)
    with refused("FAILED_PRECONDITION", says="asked for 64 cores, but the most a node can allocate is 4 cores"):
        bridge.assign({"task_id": "t1", "image": "busybox", "requests": {"cpu": 64.0}})
    assert stores.jobs.counts()["known"] == 0


def test_the_same_assignment_again_is_the_same_job(bridge: Client) -> None:
    asked = {"task_id": "t1", "image": "busybox", "command": ["true"], "secrets": {"KEY": "one"}}
    assert bridge.assign(asked) == {"task_id": "t1", "state": "waiting", "created": True}
    assert bridge.assign(asked) == {"task_id": "t1", "state": "waiting", "created": False}


@pytest.mark.parametrize("other", [{"command": ["false"]}, {"secrets": {"KEY": "two"}}, {"priority": 9}])
def test_another_assignment_under_a_taken_id_is_refused(bridge: Client, stores: Stores, other: dict[str, Any]) -> None:
    asked = {"task_id": "t1", "image": "busybox", "command": ["true"], "secrets": {"KEY": "one"}}
    bridge.assign(asked)
    with refused("ALREADY_EXISTS", says="t1"):
        bridge.assign(asked | other)
    assert stores.jobs.get("t1").assignment.command == ("true",)


def test_a_full_line_is_said_to_be_full(stores: Stores, settings: Settings) -> None:
    from hivemind_worker.bootstrap import open_stores

    narrow = bridge_settings(settings, max_waiting=2)
    with running(open_stores(narrow), narrow) as address, Client(address) as client:
        for i in range(2):
            client.assign({"task_id": f"t{i}"})
        with refused("RESOURCE_EXHAUSTED", says="2 jobs wait"):
            client.assign({"task_id": "t2"})
    assert stores.jobs.counts()["known"] == 2


def test_an_acknowledged_job_is_in_redis_already(bridge: Client, stores: Stores) -> None:
    bridge.assign({"task_id": "t1", "image": "busybox"})
    assert stores.jobs.get("t1").state is State.WAITING


def test_what_one_caller_did_wrong_does_not_fail_those_in_its_batch(bridge: Client, stores: Stores) -> None:
    def assign(number: int) -> str:
        try:
            bridge.assign({"task_id": f"t{number}", "priority": 99 if number % 3 == 0 else 5})
        except Exception as error:  # noqa: BLE001 - looked at below
            return str(getattr(error, "field", error))
        return "taken"

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(assign, range(120)))
    assert answers == ["priority" if n % 3 == 0 else "taken" for n in range(120)]
    assert stores.jobs.counts()["known"] == 80


def test_one_of_many_callers_with_the_same_id_creates_the_job(bridge: Client, stores: Stores) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: bridge.assign({"task_id": "t1"})["created"], range(64)))
    assert sorted(answers) == [False] * 63 + [True]
    assert stores.jobs.counts() == {"waiting": 1, "active": 1, "known": 1}


def test_a_secret_is_nowhere_in_the_clear(bridge: Client, stores: Stores, caplog: pytest.LogCaptureFixture) -> None:
    bridge.assign({"task_id": "t1", "secrets": {"TOKEN": "hunter2hunter2"}})
    for key in stores.redis.keys("*"):
        assert b"hunter2" not in stores.redis.dump(key)
    assert "hunter2" not in str(bridge.get("t1")) + caplog.text
    assert stores.jobs.secrets("t1") == {"TOKEN": "hunter2hunter2"}


def test_bytes_that_are_no_message_are_an_invalid_argument(channel: grpc.Channel) -> None:
    for method in ("AssignTask", "GetTask", "ListTasks", "CancelTask"):
        call = channel.unary_unary(f"/hivemind.v1.TaskService/{method}")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\x0a\xff\xff\xff", timeout=10)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    watch = channel.unary_stream("/hivemind.v1.TaskService/WatchTask")
    with pytest.raises(grpc.RpcError) as caught:
        list(watch(b"\x0a\x02\xff\xfe", timeout=10))  # a task_id that is not UTF-8
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_message_beyond_the_limit_is_refused(channel: grpc.Channel, bridge: Client) -> None:
    call = channel.unary_unary("/hivemind.v1.TaskService/AssignTask")
    with pytest.raises(grpc.RpcError) as caught:
        call(bytes(9 * 1024 * 1024), timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert bridge.assign({"task_id": "t1"})["created"]


def test_an_error_nobody_foresaw_is_internal_without_its_text(
    tasks: task_pb2_grpc.TaskServiceStub, stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    stores.redis.set(stores.keys.index, "no index at all")
    with pytest.raises(grpc.RpcError) as caught:
        tasks.ListTasks(task_pb2.ListTasksRequest(), timeout=60)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "its log has the details" in caught.value.details()
    assert "WRONGTYPE" not in caught.value.details()


def test_redis_away_is_unavailable_and_nothing_is_half_written(
    own_redis: OwnRedis, own_stores: tuple[Stores, Settings]
) -> None:
    stores, settings = own_stores
    with running(stores, settings) as address, Client(address) as client:
        client.assign({"task_id": "before"})
        own_redis.stop()
        with refused("UNAVAILABLE", says="Redis"):
            client.assign({"task_id": "during"})
        own_redis.start()
        assert client.assign({"task_id": "after"})["created"]
        assert {job["task_id"] for job in client.list()["tasks"]} == {"before", "after"}
        assert stores.jobs.counts() == {"waiting": 2, "active": 2, "known": 2}
        assert client.assign({"task_id": "during"})["created"]
