"""The command line itself: wrong usage, where options may stand, and how errors read."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from hivemind_cli.joboptions import job_spec
from hivemind_cli.main import COMMANDS, cli, main


def call(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(args))
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_a_command_that_does_not_exist_is_wrong_usage_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "submot")
    assert (code, out) == (2, "")
    assert "did you mean 'submit'?" in err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["run"], "name an IMAGE"),
        (["run", "--memory", "lots", "image"], "is not a size"),
        (["run", "--timeout", "soon", "image"], "is not a time"),
        (["run", "--cpu", "many", "image"], "'many' is not a number of cores; write one, as in 0.5"),
        (["run", "--cpu", "500m", "image"], "'500m' is not a number of cores; write 0.5"),
        (["submit", "--cpu-limit", "1500m", "image"], "'1500m' is not a number of cores; write 1.5"),
        (["node", "set", "--max-cpu", "500m"], "'500m' is not a number of cores; write 0.5"),
        (["run", "--gpus", "1e3", "image"], "not a whole number"),
        (["run", "--pids", "99999999999", "image"], "out of all range"),
        (["run", "--env", "=x", "image"], "no name before"),
        (["run", "--env", "SURELY_NOT_SET_HERE", "image"], "is not set here"),
        (["run", "--network", "lan", "image"], "none"),
        (["run", "--id", "", "image"], "'--id': it is empty"),
        (["submit", "--id", "", "image"], "'--id': it is empty"),
        (["run", "--bundle", "/surely/not/there"], "does not exist"),
        (["ps", "--state", "sleeping"], "sleeping"),
        (["ps", "--limit", "0"], "0"),
        (["ps", "--bridge", "nowhere"], "is not HOST:PORT"),
        (["wait"], "Missing argument"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str], args: list[str], says: str) -> None:
    code, out, err = call(capsys, *args)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("args", [["--json", "run"], ["run", "--json"]])
def test_under_json_an_error_is_a_document_too_wherever_the_flag_stands(
    capsys: pytest.CaptureFixture[str], args: list[str]
) -> None:
    code, out, _ = call(capsys, *args)
    assert code == 2
    assert json.loads(out)["error"]["code"] == "USAGE"


def test_what_follows_the_image_belongs_to_the_job() -> None:
    command = cli.get_command(cli.make_context("hivemind", ["--version"], resilient_parsing=True), "run")
    assert command is not None
    context = command.make_context("run", ["--cpu", "0.5", "image", "prog", "--cpu", "9", "--json", "-h"])
    given = {key: value for key, value in context.params.items() if key not in ("task_id", "output")}
    spec = job_spec(given)
    assert spec.fields["command"] == ["prog", "--cpu", "9", "--json", "-h"]
    assert spec.fields["requests"] == {"cpu": 0.5}


def test_every_command_of_the_table_can_be_imported_and_takes_the_shared_options() -> None:
    for name in COMMANDS:
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        assert command is not None
        assert {"--json", "--bridge", "--token"} <= {flag for param in command.params for flag in param.opts}


def test_listing_jobs_imports_nothing_heavy() -> None:
    code = (
        "import sys; from hivemind_cli.commands import ps; import hivemind_cli.main\n"
        "heavy = {'pydantic', 'celery', 'kombu', 'redis', 'rich', 'docker', 'fastapi', 'sqlalchemy'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_supervisor_imports_nothing_but_the_standard_library_and_us() -> None:
    code = (
        "import sys; import hivemind_cli.supervisor\n"
        "ours = {'hivemind_cli', '__main__', 'sitecustomize', 'usercustomize'}\n"
        "tops = {name.partition('.')[0] for name in sys.modules}\n"
        "print(*sorted(n for n in tops - ours - set(sys.stdlib_module_names) if not n.startswith('__')))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
