"""The sniper and the points it arms, each in a process of its own: what fires is told, struck, frozen and thawed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hivemind_worker.killpoints import POINTS, RARE
from tests.chaos import sniper as module
from tests.chaos.journal import Journal
from tests.chaos.sniper import Sniper
from tests.processes import REPOSITORY, eventually

#: reaches a point again and again until it is told to end, and says so
PROCESS = """
import sys, threading
from tests.chaos.points import reach
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
while not done.is_set():
    reach("claimed", "t1")
print("out", flush=True)
"""


class Range:
    """A sniper with what it strikes at."""

    def __init__(self, armed: Path) -> None:
        self.armed, self.journal, self.stopping = armed, Journal(), threading.Event()
        self.struck: list[str] = []
        strikes = {name: lambda name=name: self.struck.append(name) for name in ("redis", "engine")}
        self.sniper = Sniper(armed, self.journal, 1, strikes, self.stopping)

    @contextmanager
    def process(self) -> Iterator[subprocess.Popen[bytes]]:
        """One that reaches the point `claimed` all the time."""
        env = os.environ | {"CHAOS_ARMED": str(self.armed), "CHAOS_PROCESS": "n1", "PYTHONPATH": str(REPOSITORY)}
        with subprocess.Popen(
            [sys.executable, "-c", PROCESS], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as child:
            try:
                yield child
            finally:
                child.kill()


@pytest.fixture
def range_(tmp_path: Path) -> Iterator[Range]:
    made = Range(tmp_path)
    yield made
    made.sniper.close()


def told(shots: Range) -> list[tuple[str, str, str, str]]:
    return [(e["name"], e["action"], e["process"], e["job"]) for e in shots.journal.of("point")]


def test_a_point_that_nobody_reaches_has_its_time_and_is_disarmed(
    range_: Range, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    range_.sniper.shoot("claimed", "kill")
    assert not (range_.armed / "claimed").exists()
    assert told(range_) == []


def test_a_point_fires_once_and_the_process_dies_there(range_: Range) -> None:
    with range_.process() as child:
        range_.sniper.shoot("claimed", "kill")
        assert child.wait(30) == -9
    assert told(range_) == [("claimed", "kill", "worker@n1", "t1")]
    assert [entry["pid"] for entry in range_.journal.of("kill")] == [child.pid]
    assert range_.sniper.hit == {"claimed"}


def test_who_was_frozen_goes_on_when_its_time_is_over(range_: Range, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FROZEN", (0.2, 0.3))
    with range_.process() as child:
        range_.sniper.shoot("claimed", "freeze")
        frozen = Path(f"/proc/{child.pid}/stat")
        eventually(lambda: frozen.read_text().rpartition(")")[2].split()[0] == "T", 30, "frozen")
        range_.sniper.shoot("claimed", "kill")
        assert child.wait(30) == -9
    assert [fired[1] for fired in told(range_)] == ["freeze", "kill"]


def test_a_process_waits_at_its_point_until_another_was_struck(range_: Range) -> None:
    with range_.process() as child:
        range_.sniper.shoot("claimed", "kill redis")
        assert range_.struck == ["redis"]
        assert child.communicate(timeout=30)[0] == b"out\n"
    assert [path.name for path in range_.armed.iterdir() if path.name.startswith(".struck")] == []


def test_a_rare_point_is_brought_about_while_it_is_armed(range_: Range, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE_RARE", 0.2)
    seen: list[tuple[str, bool]] = []

    @contextmanager
    def occasion() -> Iterator[None]:
        seen.append(("begins", (range_.armed / "adopted").exists()))
        yield
        seen.append(("ends", (range_.armed / "adopted").exists()))

    range_.sniper.occasions["adopted"] = occasion
    range_.sniper.shoot("adopted", "kill")
    assert seen == [("begins", True), ("ends", True)]
    assert (range_.armed / "adopted").exists(), "it waits on for what is rare"
    range_.sniper.shoot("promoted", "kill")
    assert len(seen) == 2, "it belongs to one point"


def test_a_rare_point_waits_armed_while_others_have_their_turn(range_: Range, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POINTS", ("recorded",))
    monkeypatch.setattr(module, "RARE", ("claimed",))
    thread = threading.Thread(target=range_.sniper.run)
    thread.start()
    with range_.process() as child:
        assert child.wait(30) == -9
        range_.journal.await_more("kill", 0, 30)
    range_.stopping.set()
    range_.sniper.stop()
    thread.join(30)
    assert told(range_) == [("claimed", "kill", "worker@n1", "t1")]
    assert list(range_.armed.glob("[a-z]*")) == []


def test_what_was_not_struck_yet_comes_first_and_what_is_rare_last(range_: Range) -> None:
    range_.sniper.hit |= {"claimed", "adopted"}
    turn = range_.sniper.turn(1)
    assert sorted(turn) == sorted(POINTS)
    assert turn[-2:] == ["claimed", "adopted"]
    assert set(turn[-5:-2]) == set(RARE) - {"adopted"}
    assert not set(range_.sniper.turn(0)) & {"claimed", "adopted"}


def test_a_sniper_that_is_told_to_stop_leaves_nothing_armed_and_nobody_frozen(
    range_: Range, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAYS", ("freeze",))
    monkeypatch.setattr(module, "POINTS", ("claimed",))
    monkeypatch.setattr(module, "RARE", ("adopted",))
    monkeypatch.setattr(module, "GAP", (60.0, 60.0))
    range_.sniper.hit.add("claimed")
    thread = threading.Thread(target=range_.sniper.run)
    with range_.process() as child:
        thread.start()
        range_.journal.await_more("point", 0, 30)
        range_.stopping.set()
        range_.sniper.stop()
        thread.join(30)
        assert not thread.is_alive()
        assert child.communicate(timeout=30)[0] == b"out\n"
    assert not (range_.armed / "claimed").exists()
    assert not (range_.armed / "adopted").exists()
