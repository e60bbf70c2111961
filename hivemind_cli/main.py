"""`hivemind`: the table of commands, and the one place where an error becomes a line and an exit code."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from hivemind_cli.errors import CliError, Fault, fault_of
from hivemind_cli.session import Session, shared_options

#: command → (module under hivemind_cli.commands, attribute, its line in --help): a listing imports nothing
COMMANDS: dict[str, tuple[str, str, str]] = {
    "up": ("up", "up", "Start the whole node on this machine."),
    "down": ("down", "down", "Stop a node that `up` started; its jobs run on."),
    "run": ("run", "run", "Assign one job, follow its log, exit as it exits."),
    "submit": ("submit", "submit", "Assign one job, print its id and return."),
    "ps": ("ps", "ps", "List jobs; -a lists those that have ended too."),
    "show": ("show", "show", "Everything about one job."),
    "logs": ("logs", "logs", "A job's log; -f follows it."),
    "stop": ("stop", "stop", "Stop a job."),
    "priority": ("priority", "priority", "Give a waiting job another priority."),
    "fetch": ("fetch", "fetch", "Unpack a job's artifact into a directory."),
    "wait": ("wait", "wait", "Wait until jobs have ended."),
    "nodes": ("nodes", "nodes", "What the nodes have, lend and use."),
    "drain": ("nodes", "drain", "Take no new jobs; what runs goes on."),
    "resume": ("nodes", "resume", "Take jobs again."),
    "node": ("node", "node", "Change what a node lends while it runs; cordon a GPU."),
    "top": ("top", "top", "A live view of nodes and jobs."),
    "doctor": ("doctor", "doctor", "Check what a node needs, with a remedy for each fault."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the table, which is the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command itself, imported now."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f"hivemind_cli.commands.{entry[0]}")
        command: click.Command = getattr(module, entry[1])
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the nearest name when there is none of this one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            import difflib

            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "; 'hivemind --help' lists all"
            raise click.UsageError(f"there is no command '{args[0]}'{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The listing, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        from hivemind_worker.version import __version__

        click.echo(f"hivemind {__version__}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Which.")
def cli() -> None:
    """HiveMind: this machine as a node that runs container jobs, and the way to give it some."""


cli.params.extend(shared_options())


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run one command line and exit: 0 well, 1 an error, 2 wrong usage, or what the command's help says."""
    session = Session()
    try:
        result = cli.main(args=args, prog_name="hivemind", standalone_mode=False, obj=session)
        sys.stdout.flush()
        code = result if isinstance(result, int) else 0
    except BrokenPipeError:
        code = _reader_left()
    except (KeyboardInterrupt, click.Abort):
        code = _report(Fault("INTERRUPTED", "interrupted", code=130), session)
    except click.ClickException as error:
        code = _usage(error, session)
    except Exception as error:
        fault = fault_of(error, session.bridge)
        if fault is None:
            raise
        code = _report(fault, session)
    sys.exit(code)


def _usage(error: click.ClickException, session: Session) -> int:
    context = getattr(error, "ctx", None)
    where = f" ('{context.command_path} --help' explains)" if context else ""
    field = getattr(getattr(error, "param", None), "name", None)
    return _report(Fault("USAGE", error.format_message() + where, field=field, code=error.exit_code), session)


def _report(fault: CliError | Fault, session: Session) -> int:
    """One line on stderr; under --json the same as the one document on stdout."""
    from hivemind_cli.output import emit_json, styled

    message = " ".join(fault.message.split())
    sys.stdout.flush()
    print(f"{styled('error:', 'red', sys.stderr)} {message}", file=sys.stderr)
    if session.json:
        emit_json({"error": {"code": fault.kind, "message": message, "field": fault.field}})
    return fault.code


def _reader_left() -> int:
    """`hivemind logs … | head`: no complaint, and none from the interpreter when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141
