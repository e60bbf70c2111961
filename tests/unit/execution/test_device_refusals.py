"""An engine that gives no devices is believed until it was started anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemind_worker.execution.device_refusals import DeviceRefusals, gives_none
from hivemind_worker.execution.since import Moment

DOCKER_28 = 'could not select device driver "" with capabilities: [[gpu compute utility]]'
FIRST, SECOND = Moment("boot", 10.0, 1000.0), Moment("boot", 20.0, 1010.0)


class FakeEngine:
    def __init__(self, started: Moment | None) -> None:
        self.started = started

    def started_at(self) -> Moment | None:
        return self.started


@pytest.mark.parametrize(
    "words",
    [DOCKER_28, "failed to discover GPU vendor from CDI: no known GPU vendor found"],
)
def test_the_engines_own_words_are_known(words: str) -> None:
    assert gives_none(words)
    assert not gives_none("nvidia-container-cli: requirement error: unsatisfied condition: cuda>=12.4")


def test_a_refusal_is_every_workers_and_stands_until_the_engine_was_started_anew(tmp_path: Path) -> None:
    engine = FakeEngine(FIRST)
    mine, siblings = DeviceRefusals(engine, tmp_path), DeviceRefusals(engine, tmp_path)
    assert mine.trouble() == ""
    mine.note(DOCKER_28)
    assert "could not select device driver" in siblings.trouble()
    assert siblings.trouble().endswith("install NVIDIA's container toolkit and restart the engine")
    DeviceRefusals(engine, tmp_path).begin()
    engine.started = None  # it is away
    assert siblings.trouble()
    engine.started = SECOND
    assert (siblings.trouble(), mine.trouble()) == ("", "")


def test_an_engine_whose_start_cannot_be_seen_is_tried_again_when_a_worker_comes_up(tmp_path: Path) -> None:
    refusals = DeviceRefusals(FakeEngine(None), tmp_path)
    refusals.note(DOCKER_28)
    assert refusals.trouble()
    refusals.begin()
    assert refusals.trouble() == ""


def test_a_note_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    for text in ("", "[]", "{}", "no JSON"):
        (tmp_path / "devices_refused.json").write_text(text)
        assert DeviceRefusals(FakeEngine(FIRST), tmp_path).trouble() == ""
