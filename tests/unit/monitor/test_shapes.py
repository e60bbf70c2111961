"""What goes out: the frames of a stream, sums over nodes, and that OpenAPI says what the views really give."""

from __future__ import annotations

import json

import pytest

from hivemind_worker.domain.job import PastAttempt, Promised, State, Times, WaitingInfo, view
from hivemind_worker.domain.node import Gpu, node_view
from hivemind_worker.domain.outcome import BlobRef, Cause, Outcome
from hivemind_worker.monitor.health import reachable
from hivemind_worker.monitor.routes.nodes import summed
from hivemind_worker.monitor.schemas import Amounts, NodeView, Task
from hivemind_worker.monitor.sse import frame
from hivemind_worker.store.events import order
from tests.builders import job, node, row

LOST = (PastAttempt(attempt=1, node="n1", cause="node_lost"),)
A_CARD = Gpu(uuid="g", name="A card", memory=2**34, reserved=2**30)


def test_content_cannot_end_a_frame_early() -> None:
    text = frame("chunk", {"text": "a\n\nevent: end\ndata: {}\r\n\u2028\n"}, "7").decode()
    assert text.startswith("id: 7\nevent: chunk\ndata: ")
    assert text.count("\n\n") == 1
    assert text.count("\n") == 4
    assert "\r" not in text
    assert json.loads(text.splitlines()[2].removeprefix("data: "))["text"].startswith("a\n\nevent: end")


def test_event_ids_sort_by_number_not_by_letter() -> None:
    assert order("999-10") < order("1000-9") < order("1000-10")
    with pytest.raises(ValueError):
        order("x-1")


def test_the_task_of_openapi_is_the_view() -> None:
    done = Outcome(cause=Cause.OOM, exit_code=137, evidence="seen", artifact=BlobRef(sha256="a" * 64, size=9))
    for shown in (
        view(job(), WaitingInfo(reason="full", position=3)),
        view(
            job(past=LOST), WaitingInfo(reason="next", kind="head", promise=Promised(task_id="t1", node="n1", at="x"))
        ),
        view(job(state=State.FAILED, outcome=done, times=Times(created=0, admitted=1, started=2, finished=3))),
    ):
        assert set(shown) == set(Task.model_fields)
        Task.model_validate(shown)


def test_the_node_of_openapi_is_the_view() -> None:
    shown = node_view(node(gpus=(A_CARD,)), {"t1": row(gpus=("g",))}, 3)
    assert set(shown) == set(NodeView.model_fields)
    NodeView.model_validate(shown)


def test_sums_over_nodes_weigh_cpu_by_cores_and_never_show_less_than_nothing_free() -> None:
    big, small = (
        node_view(node("big", millicores=8000), {"t1": row(cpu=6)}, 0),
        node_view(node("small", millicores=2000), {"t1": row(cpu=4)}, 0),
    )
    big["usage"]["cpu_percent"], small["usage"]["cpu_percent"] = 50.0, 100.0
    site = summed([big, small])
    assert site["usage"]["cpu_percent"] == 60.0
    assert (site["allocatable"]["cpu"], site["reserved"]["cpu"], site["free"]["cpu"]) == (10.0, 10.0, 0)
    for field in ("capacity", "allocatable", "reserved", "free"):
        Amounts.model_validate(site[field])


def test_a_site_without_nodes_sums_to_nothing() -> None:
    assert summed([])["free"] == {"cpu": 0, "memory": 0, "gpus": 0, "disk": 0, "pids": 0, "slots": 0, "spare_cpu": 0}


@pytest.mark.parametrize(
    ("host", "address"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("[::1]", "::1"), ("bridge", "bridge")]
)
def test_a_wildcard_is_called_at_this_machine(host: str, address: str) -> None:
    assert reachable(host) == address
