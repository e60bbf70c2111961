"""`hivemind top`: nodes and jobs, live."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from hivemind_cli.commands import nodes as nodes_view
from hivemind_cli.commands import ps as ps_view
from hivemind_cli.errors import AWAY
from hivemind_cli.output import emit_json, styled, table, width
from hivemind_cli.session import Session, command, pass_session

if TYPE_CHECKING:
    from bridge.client import Client


@command()
@click.option("--once", is_flag=True, help="Print it once and leave.")
@click.option("--every", type=click.FloatRange(0.2, 60), default=2.0, show_default=True, help="Seconds between looks.")
@pass_session
def top(session: Session, once: bool, every: float) -> None:
    """A live view of nodes and active jobs; Ctrl-C leaves. Without a terminal or with --json it prints once."""
    with session.client() as client:
        if session.json:
            emit_json(_look(client))
        elif once or not sys.stdout.isatty():
            print("\n".join(_lines(_look(client), width())))
        else:
            _live(client, every, session.bridge)


def _look(client: Client) -> dict[str, Any]:
    page = client.list(state="", owner="", limit=200, cursor="", active_only=True)
    return {"nodes": client.nodes(""), "tasks": page["tasks"]}


def _lines(seen: dict[str, Any], columns: int | None) -> Iterator[str]:
    now = datetime.now(UTC)
    yield from table(nodes_view.HEAD, [nodes_view.row(node) for node in seen["nodes"]], columns, nodes_view.FIGURES)
    yield ""
    yield from ps_view.listing(seen["tasks"], now) if seen["tasks"] else ["no active jobs"]


def _live(client: Client, every: float, bridge: str) -> None:
    import shutil

    from bridge.client import CallError

    pause, lines = threading.Event(), ["…"]
    # The alternate screen and no cursor; both are given back whatever happens.
    sys.stdout.write("\033[?1049h\033[?25l")
    try:
        while True:
            try:
                lines = list(_lines(_look(client), width()))
                state = "Ctrl-C leaves"
            except CallError as error:
                if error.code not in AWAY:
                    raise
                state = styled("the bridge does not answer; trying again", "red")
            height = shutil.get_terminal_size().lines - 2
            title = f"{styled('hivemind top', 'bold')}  {bridge}  {datetime.now():%H:%M:%S}  {state}"
            body = "\033[K\n".join([title, *lines[:height]])
            sys.stdout.write(f"\033[H{body}\033[J")
            sys.stdout.flush()
            pause.wait(every)
    except KeyboardInterrupt:
        return
    finally:
        sys.stdout.write("\033[?25h\033[?1049l")
        sys.stdout.flush()
