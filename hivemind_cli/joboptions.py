"""The options of one job, for `run` and `submit` alike, and the assignment that they make."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click


class Parsed(click.ParamType[Any]):
    """A size, a time or cores, read by the domain's rules."""

    def __init__(self, name: str, parser: str) -> None:
        self.name, self._parser = name, parser

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Text → bytes, seconds or cores; a usage error that says what would be right."""
        from hivemind_worker.domain import resources

        try:
            return getattr(resources, self._parser)(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


SIZE, DURATION = Parsed("size", "parse_size"), Parsed("time", "parse_duration")
CORES = Parsed("cores", "parse_cores")


class Whole(click.ParamType[int]):
    """A whole number that the wire can carry; what makes sense is the bridge's to say."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Text → int of at most 32 bits."""
        try:
            number = int(str(value), 10)
        except ValueError:
            self.fail(f"{value!r} is not a whole number", param, ctx)
        if not -(2**31) <= number < 2**31:
            self.fail(f"{value} is out of all range", param, ctx)
        return number


class Variable(click.ParamType[tuple[str, str]]):
    """NAME=VALUE, or NAME alone for the value it has here."""

    name = "K=V"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Text → (name, value). What makes a name is the bridge's to say."""
        name, equals, text = value.partition("=")
        if not name:
            self.fail("there is no name before the '='", param, ctx)
        if equals:
            return name, text
        if name not in os.environ:
            self.fail(f"{name} is not set here; write {name}=VALUE", param, ctx)
        return name, os.environ[name]


def _no_empty_id(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """A script whose variable is not set must not get an id that it does not know."""
    if value == "":
        raise click.BadParameter("it is empty; give the job an id, or leave the option out for a new one")
    return value


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What was asked for on the command line; None: the node's default."""

    bundle: Path | None
    fields: dict[str, Any]

    def assignment(self, task_id: str, bundle_sha256: str) -> dict[str, Any]:
        """The assignment for `Client.assign`."""
        return {**self.fields, "task_id": task_id, "bundle_sha256": bundle_sha256}


_OPTIONS = [
    click.option("--bundle", type=click.Path(exists=True, path_type=Path), help="The program: a directory or zip."),
    click.option(
        "--id", "task_id", metavar="ID", callback=_no_empty_id, help="The job's id; the same id twice is the same job."
    ),
    click.option("--cpu", type=CORES, metavar="CORES", help="Cores, as in 0.5."),
    click.option("--cpu-limit", type=CORES, metavar="CORES", help="Cores at most, where idle and lent; else as --cpu."),
    click.option(
        "--reclaimable/--guaranteed", default=None, help="Run on cores that others leave idle; may be slowed."
    ),
    click.option("--memory", type=SIZE, metavar="SIZE", help="Memory, as in 256M."),
    click.option("--gpus", type=Whole(), metavar="N", help="GPU devices."),
    click.option("--gpu-memory", type=SIZE, metavar="SIZE", help="Memory on each device, as in 4G."),
    click.option("--disk", type=SIZE, metavar="SIZE", help="Room in the workspace, as in 1G."),
    click.option("--pids", type=Whole(), metavar="N", help="Processes and threads."),
    click.option("--timeout", "timeout_seconds", type=DURATION, metavar="TIME", help="Its longest run, as in 10m."),
    click.option("--priority", type=Whole(), metavar="0..9", help="9 goes first."),
    click.option("--env", type=Variable(), multiple=True, help="A variable of the job's environment."),
    click.option("--secret", type=Variable(), multiple=True, help="The same, never kept or shown in clear."),
    click.option("--network", type=click.Choice(["none", "internet"]), help="What the job can reach."),
    click.option("--retries", type=Whole(), metavar="N", help="Further attempts after a failure of its own."),
    click.option("--owner", metavar="NAME", help="Whose job it is."),
    click.argument("image", required=False),
    click.argument("command", nargs=-1, type=click.UNPROCESSED),
]
#: what comes first that is no option belongs to the job, and all after it
PASS_ON = {"allow_interspersed_args": False}
_REQUESTS = ("cpu", "memory", "gpus", "gpu_memory", "disk", "pids", "cpu_limit", "reclaimable")


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the job's options."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def job_spec(given: dict[str, Any]) -> JobSpec:
    """The spec from the options' values. Raises click.UsageError when there is nothing to run."""
    if not given["image"] and not given["bundle"]:
        context = click.get_current_context()
        raise click.UsageError("name an IMAGE to run, or a program with --bundle", context)
    fields: dict[str, Any] = {
        "image": given["image"] or "",
        "command": list(given["command"]),
        "env": dict(given["env"]),
        "secrets": dict(given["secret"]),
        "requests": {name: given[name] for name in _REQUESTS if given[name] is not None},
    }
    for name in ("timeout_seconds", "priority", "network", "retries", "owner"):
        if given[name] is not None:
            fields[name] = given[name]
    return JobSpec(given["bundle"], fields)
