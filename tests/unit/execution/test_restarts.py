"""Whether a container's end fell into its engine's restart."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hivemind_worker.domain.errors import EngineUnavailable
from hivemind_worker.execution.found import Found
from hivemind_worker.execution.restarts import (
    ended_unread,
    ended_with_engine,
    engine_started_at,
    is_younger,
    zero_in_doubt,
)
from hivemind_worker.execution.since import Moment
from hivemind_worker.execution.wire import Address


def found(started: float | None, finished: float | None) -> Found:
    return Found(id="c", name="hm-x-1", status="exited", labels={}, started_at=started, finished_at=finished)


@pytest.mark.parametrize(
    ("started", "finished", "engine", "unread", "taken_along"),
    [
        (100.0, 110.0, 50.0, False, False),  # the engine was there all the time
        (100.0, 110.0, 120.0, True, True),  # it ended while there was no engine
        (100.0, 122.0, 120.0, True, True),  # noted by the engine that came up
        (100.0, 124.0, 120.0, False, True),  # ended by the engine that came up, with its grace
        (100.0, 300.0, 120.0, False, False),  # it outlived the restart
        (100.0, 110.0, None, False, False),  # nobody knows when the engine came up
        (None, None, 120.0, False, False),
    ],
)
def test_an_end_is_held_against_the_engines_start(
    started: float | None, finished: float | None, engine: float | None, unread: bool, taken_along: bool
) -> None:
    moment = None if engine is None else Moment("b", 0.0, engine)
    assert ended_unread(found(started, finished), moment) is unread
    assert ended_with_engine(found(started, finished), moment) is taken_along


def test_a_container_that_is_gone_tells_nothing() -> None:
    assert not ended_unread(None, Moment("b", 0.0, 1.0))
    assert not ended_with_engine(None, Moment("b", 0.0, 1.0))


@pytest.mark.parametrize(
    ("started", "finished", "doubt"),
    [
        (100.0, 110.0, False),  # its end was noted before this engine came up
        (100.0, 120.05, False),  # … or when it had hardly begun to
        (100.0, 122.0, True),
        (100.0, 300.0, False),  # it outlived the restart by far
        (130.0, 131.0, False),  # started under this engine
        (None, None, False),
    ],
)
def test_a_zero_that_was_stamped_when_the_engine_came_up_is_in_doubt(
    started: float | None, finished: float | None, doubt: bool
) -> None:
    engine = Moment("b", 0.0, 120.0)
    assert zero_in_doubt(found(started, finished), engine) is doubt
    assert not zero_in_doubt(replace(found(started, finished), exit_code=3), engine)
    assert not zero_in_doubt(None, engine)


def test_an_engines_start_is_that_of_the_process_that_listens(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        started = engine_started_at(Address.parse(f"unix://{tmp_path}/s"))
    assert started is not None
    ticks = int(Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()[19])
    assert started.up == ticks / os.sysconf("SC_CLK_TCK")
    assert started.wall == pytest.approx(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + started.up, abs=1.0)


def test_an_engine_elsewhere_tells_no_start() -> None:
    assert engine_started_at(Address.parse("tcp://127.0.0.1:1")) is None


def test_an_engine_that_is_away_is_not_one_that_cannot_tell(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable):
        engine_started_at(Address.parse(f"unix://{tmp_path}/nobody"))


def test_an_engine_is_another_than_the_containers_if_it_was_started_after_it() -> None:
    start = Moment("boot", 100.0, 1.0)
    assert is_younger(Moment("boot", 101.0, 2.0), start)
    assert is_younger(Moment("next boot", 5.0, 2.0), start)
    assert not is_younger(Moment("boot", 99.0, 0.0), start)
    assert not is_younger(None, start)
    assert not is_younger(Moment("boot", 101.0, 2.0), None)
