"""Which program of a bundle is started."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hivemind_worker.domain.errors import EntrypointRefused
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.execution.entrypoint import WELL_KNOWN, choose_entrypoint, interpreter


def test_nothing_to_start_is_refused_with_what_was_looked_for_and_what_is_there() -> None:
    with pytest.raises(EntrypointRefused) as refused:
        choose_entrypoint((), ["data.csv", "notes.txt"])
    assert refused.value.cause is Cause.ENTRYPOINT
    assert all(name in str(refused.value) for name in WELL_KNOWN)
    assert "'data.csv', 'notes.txt'" in str(refused.value)


def test_a_root_without_files_is_refused_with_the_hint_that_they_must_lie_there() -> None:
    with pytest.raises(EntrypointRefused, match="not inside a folder"):
        choose_entrypoint((), [])


@pytest.mark.parametrize(
    ("folders", "told"), [(("proj",), "the folder 'proj'"), (("a", "b\n"), "the folders 'a', 'b\\n'")]
)
def test_a_root_whose_files_all_lie_in_folders_is_refused_and_these_are_named(
    folders: tuple[str, ...], told: str
) -> None:
    with pytest.raises(EntrypointRefused) as refused:
        choose_entrypoint((), [], folders=folders)
    assert f"its files lie inside {told} and must lie at the zip's root" in str(refused.value)
    assert "holds no files" not in str(refused.value)


def test_two_programs_of_which_none_is_well_known_are_refused_and_both_named() -> None:
    with pytest.raises(EntrypointRefused, match=r"2 \.py files \('a\.py', 'b\.py'\)"):
        choose_entrypoint((), ["b.py", "a.py"])


def test_many_names_are_shortened() -> None:
    with pytest.raises(EntrypointRefused, match="and 92 more"):
        choose_entrypoint((), [f"{i}.py" for i in range(100)])


def test_the_command_of_the_assignment_goes_before_everything() -> None:
    assert choose_entrypoint(["ls", "-l"], ["main.py"]) == ("ls", "-l")


def test_the_list_of_the_contract_is_followed_in_its_order() -> None:
    assert WELL_KNOWN == (
        "run_task.sh", "main.py", "app.py", "run.py", "script.py", "start.py", "index.py", "task_script.py",
        "main.sh", "run.sh",
    )  # fmt: skip
    for first, second in itertools.combinations(WELL_KNOWN, 2):
        assert choose_entrypoint((), [second, first])[-1] == first


def test_the_only_python_file_at_the_root_is_started() -> None:
    assert choose_entrypoint((), ["analyse.py", "data.csv", ".py"]) == ("python3", "analyse.py")


def test_a_name_that_looks_like_an_option_is_not_taken_for_one() -> None:
    assert choose_entrypoint((), ["-c.py"]) == ("python3", "./-c.py")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ("/bin/sh",)),
        ("echo hello", ("/bin/sh",)),
        ("#!", ("/bin/sh",)),
        ("#!bash", ("/bin/sh",)),
        ("#!/bin/bash", ("/bin/bash",)),
        ("#! /usr/bin/env  bash -e ", ("/usr/bin/env", "bash -e")),
        ("#!/bin/sh\r", ("/bin/sh",)),
    ],
)
def test_a_shell_script_is_started_by_what_its_first_line_names(line: str, words: tuple[str, ...]) -> None:
    assert interpreter(line) == words
    assert choose_entrypoint((), ["run.sh"], lambda _: line) == (*words, "run.sh")


def test_a_python_file_is_started_by_python3_whatever_its_first_line_says() -> None:
    assert choose_entrypoint((), ["main.py"], lambda _: "#!/opt/python2")[0] == "python3"


@given(names=st.lists(st.text(max_size=12)), command=st.lists(st.text(max_size=5)))
def test_what_is_started_lies_at_the_root_or_is_the_command(names: list[str], command: list[str]) -> None:
    try:
        chosen = choose_entrypoint(command, names)
    except EntrypointRefused:
        return
    assert chosen == tuple(command) or chosen[-1].removeprefix("./") in names
