"""The exit code of `hivemind run` for every cause there is."""

from __future__ import annotations

import pytest

from hivemind_cli.endings import exit_code, sentence
from hivemind_worker.domain.outcome import Cause

CODES = {
    "ok": 0, "exit": 3, "oom": 137, "timeout": 124, "cancelled": 130, "disk": 3, "image": 126, "bundle": 126,
    "entrypoint": 3, "unschedulable": 125, "node_lost": 125, "engine": 125, "internal": 125,
}  # fmt: skip


def test_every_cause_has_its_code() -> None:
    assert set(CODES) == {cause.value for cause in Cause}


@pytest.mark.parametrize(("cause", "code"), CODES.items())
def test_a_cause_gives_its_code(cause: str, code: int) -> None:
    assert exit_code({"cause": cause, "exit_code": 3}) == code


def test_a_cause_that_we_do_not_know_yet_is_not_the_jobs_fault() -> None:
    assert exit_code({"cause": "meteor", "exit_code": 3}) == 125


def test_a_failure_is_never_a_success_even_when_its_code_got_lost() -> None:
    assert exit_code({"cause": "exit", "exit_code": None}) == 126


@pytest.mark.parametrize(("cause", "code"), [("entrypoint", 126), ("disk", 126), ("node_lost", 125), ("engine", 125)])
def test_where_no_container_ever_ran_the_fault_decides(cause: str, code: int) -> None:
    assert exit_code({"cause": cause, "exit_code": None}) == code


def test_the_sentence_says_what_happened_without_control_characters() -> None:
    task = {"task_id": "a", "state": "failed", "cause": "exit", "exit_code": 3, "evidence": "exit \x1b[31mcode 3"}
    assert sentence(task) == "a failed (exit code 3): exit �[31mcode 3"
