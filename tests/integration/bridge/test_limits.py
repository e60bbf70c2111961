"""Limits as a caller meets them: RESOURCE_EXHAUSTED, with the limit, its setting, and when to come again."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from bridge.client import Client
from bridge.wire.hivemind.v1 import task_pb2, task_pb2_grpc
from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.settings import Settings
from tests.integration.bridge.conftest import bridge_settings, refused, running


def asked(task_id: str, owner: str = "ann") -> dict[str, Any]:
    return {"task_id": task_id, "image": "busybox", "owner": owner}


def test_an_owners_queue_is_full_for_itself_alone(stores: Stores, settings: Settings) -> None:
    limited = bridge_settings(settings, max_waiting_per_owner=1)
    own = open_stores(limited)
    with running(own, limited) as address, Client(address) as bridge:
        bridge.assign(asked("a"))
        with refused("RESOURCE_EXHAUSTED", says="HIVEMIND_MAX_WAITING_PER_OWNER"):
            bridge.assign(asked("b"))
        assert bridge.assign(asked("a"))["created"] is False
        assert bridge.assign(asked("c", "bob"))["created"] is True
    own.close()


def test_who_comes_too_fast_is_told_in_how_long_to_come_again(stores: Stores, settings: Settings) -> None:
    limited = bridge_settings(settings, owner_rate=0.01, owner_burst=1)
    own = open_stores(limited)
    with running(own, limited) as address, grpc.insecure_channel(address) as channel:
        tasks = task_pb2_grpc.TaskServiceStub(channel)
        tasks.AssignTask(task_pb2.AssignTaskRequest(assignment=task_pb2.Assignment(**asked("a"))))
        with pytest.raises(grpc.RpcError) as caught:
            tasks.AssignTask(task_pb2.AssignTaskRequest(assignment=task_pb2.Assignment(**asked("b"))))
    own.close()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "HIVEMIND_OWNER_RATE" in caught.value.details()
    trailers = dict(caught.value.trailing_metadata())
    info = error_details_pb2.RetryInfo()
    assert status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details[0].Unpack(info)
    assert 0 < info.retry_delay.seconds <= 100
