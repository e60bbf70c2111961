"""A node whose own clock is off by an hour: admission, promise, ETA and timeout go by Redis' clock all the same."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.job import State
from hivemind_worker.domain.node import NodeState, Reservation
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import Settings
from tests.builders import new_job, request
from tests.clock_standin import off_by
from tests.processes import environment, eventually, until, worker

BUSYBOX = "localhost/hivemind-busybox:latest"
HOUR = 3600
TIMEOUT = 3.0
#: what a process of that node says of a waiting job, and what time it takes it to be
ASK = """
import json, sys, time
from hivemind_worker.admission.explain import Explainer
from hivemind_worker.admission.rules import Rules
from hivemind_worker.bootstrap import open_stores
from hivemind_worker.settings import load_settings
settings = load_settings()
stores = open_stores(settings)
explainer = Explainer(stores.jobs, stores.ledger, Rules.of(settings))
print(json.dumps([time.time(), explainer.views([stores.jobs.get("head")])[0], explainer.nodes()[0]["state"]]))
"""


def ask(settings: Settings, off: dict[str, str]) -> Any:
    command = [sys.executable, "-c", ASK]
    done = subprocess.run(command, env=environment(settings, **off), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def row_of(stores: Stores, task_id: str) -> Reservation:
    return stores.ledger.rows("n1")[task_id]


@pytest.mark.parametrize("ahead", [HOUR, -HOUR])
def test_a_node_whose_clock_is_off_by_an_hour_admits_promises_and_ends_jobs_in_time(
    settings: Settings, stores: Stores, tmp_path: Path, ahead: int
) -> None:
    off = off_by(ahead, tmp_path)
    with worker(settings, stores, tmp_path / "worker.log", **off):
        node = stores.ledger.node("n1")
        assert node.state is NodeState.UP
        assert abs(node.heartbeat - stores.ledger.now_ms()) < HOUR * 500
        begun = stores.ledger.now_ms()
        whole = request(cpu=node.allocatable.millicores / 1000)
        sleep, done = ("sh", "-c", "sleep 600"), ("true",)
        stores.jobs.create(new_job("first", image=BUSYBOX, command=sleep, requests=whole, timeout_seconds=TIMEOUT))
        started = until(stores, "first", State.RUNNING).times.started
        assert started is not None
        until_end = int((TIMEOUT + settings.stop_grace + settings.job_overhead) * 1000)
        assert row_of(stores, "first").deadline == started + until_end
        stores.jobs.create(new_job("head", image=BUSYBOX, command=done, requests=whole, timeout_seconds=60.0))
        eventually(lambda: stores.ledger.promise() is not None)
        promise = stores.ledger.promise()
        said_at, view, state = ask(settings, off)
        assert abs(said_at - ahead - time.time()) < HOUR / 2  # it does live in the wrong hour
        assert state == "up"
        if view["waiting"] is not None:  # a machine that is very busy may have started it by now
            assert promise is not None
            assert promise.at == started + until_end
            assert 0 <= view["waiting"]["eta_seconds"] <= until_end / 1000
            assert view["waiting"]["position"] == 1
        first, head = until(stores, "first"), until(stores, "head")
        now = stores.ledger.now_ms()
        assert first.outcome is not None
        assert first.outcome.cause is Cause.TIMEOUT
        assert TIMEOUT <= first.outcome.usage.wall_seconds < HOUR / 2
        assert head.state is State.COMPLETED
        for job in (first, head):
            times = job.times
            assert times.admitted is not None
            assert times.started is not None
            assert times.finished is not None
            assert begun <= times.created <= times.admitted <= times.started <= times.finished <= now
