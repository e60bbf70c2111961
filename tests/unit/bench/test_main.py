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


@pytest.mark.parametrize("name", ALL)
def test_each_that_is_asked_alone_prints_its_table_or_its_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    module = importlib.import_module(f"bench.{name}")
    found = {"exceeded": [], "broken": [], "failed": []}
    monkeypatch.setattr(module, "measure", lambda *_: found)
    monkeypatch.setattr(module, "table", lambda result: f"found {len(result)}")
    assert main([name]) == 0
    assert capsys.readouterr().out == "found 3\n"
    assert main([name, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == (found if hasattr(module, "main") else {name: found})


def test_what_is_of_one_trace_asks_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["admission", "--load", "0.9"])
    assert left.value.code == 2
    assert "name it with --trace" in capsys.readouterr().err
