"""`./dev bench NAME`: every name runs and says what it found; options go to the benchmark that has them."""

from __future__ import annotations

import importlib
import json

import pytest

from bench.__main__ import ALL, main


def test_a_name_that_is_none_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["tick"])
    assert left.value.code == 2
    assert "there is no benchmark tick; there are assign, " in capsys.readouterr().err


def test_a_benchmarks_own_options_reach_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["live", "--small", "0", "--large", "0"])
    assert left.value.code == 2
    assert "there must be at least one job" in capsys.readouterr().err


@pytest.mark.parametrize("name", ALL)
def test_every_name_is_a_benchmark_that_can_be_asked_alone(name: str) -> None:
    module = importlib.import_module(f"bench.{name}")
    assert callable(module.measure)
    assert callable(module.table)


def test_one_that_is_asked_alone_prints_its_table_or_its_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    idle = importlib.import_module("bench.idle")
    monkeypatch.setattr(idle, "measure", lambda: {"found": 1})
    monkeypatch.setattr(idle, "table", lambda result: f"found {result['found']}")
    assert main(["idle"]) == 0
    assert capsys.readouterr().out == "found 1\n"
    assert main(["idle", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"idle": {"found": 1}}
