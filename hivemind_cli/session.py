"""What every command is told: which bridge, which token, and whether a person or a script reads."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bridge.client import Client

DEFAULT_BRIDGE = "127.0.0.1:50053"


@dataclass
class Session:
    """One invocation. Filled by the shared options, wherever on the line they stand."""

    bridge: str = field(default_factory=lambda: os.environ.get("HIVEMIND_BRIDGE") or DEFAULT_BRIDGE)
    token: str = field(default_factory=lambda: os.environ.get("HIVEMIND_TOKEN", ""), repr=False)
    json: bool = False
    #: seconds for which a bridge that went away meanwhile is looked for; None (see --patience): until it is back
    patience: float | None = 60.0

    def client(self) -> Client:
        """A connection to the bridge, to be used in a `with`."""
        # The library's own complaints about a connection would stand beside ours.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from bridge.client import Client
        from hivemind_cli.outage import Outage

        told = Outage(self.bridge, self.patience)
        return Client(self.bridge, token=self.token, patience=self.patience, on_outage=told)


def pass_session(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give the session to a command as its first argument."""
    return click.make_pass_decorator(Session)(function)


def _bridge(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    host, colon, port = value.rpartition(":")
    if not (host and colon and port.isdigit() and 0 < int(port) < 65536) and not value.startswith("unix:"):
        raise click.BadParameter(f"{value!r} is not HOST:PORT, as in {DEFAULT_BRIDGE}")
    return value


def _keep(name: str, check: Any = None) -> Any:
    """A callback that puts a given value into the session and leaves one that was not given alone."""

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value not in (None, False):
            setattr(ctx.ensure_object(Session), name, check(ctx, param, value) if check else value)

    return callback


def shared_options() -> list[click.Option]:
    """--bridge, --token and --json: on `hivemind` itself and again on every command."""
    return [
        click.Option(
            ["--bridge"], metavar="HOST:PORT", expose_value=False, callback=_keep("bridge", _bridge),
            help=f"The node's bridge. [env HIVEMIND_BRIDGE; default {DEFAULT_BRIDGE}]",
        ),
        click.Option(
            ["--token"], metavar="TOKEN", expose_value=False, callback=_keep("token"),
            help="Who you are, to a bridge that asks. [env HIVEMIND_TOKEN]",
        ),
        click.Option(
            ["--json"], is_flag=True, expose_value=False, is_eager=True, callback=_keep("json"),
            help="One JSON document on stdout; everything else on stderr.",
        ),
    ]  # fmt: skip


class Command(click.Command):
    """A command that takes the shared options too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(shared_options())


def command(**kwargs: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """`@command()`: a `Command` with -h."""
    kwargs.setdefault("context_settings", {}).setdefault("help_option_names", ["-h", "--help"])
    return click.command(cls=Command, **kwargs)
