"""`hivemind down`: stop the node of a state directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hivemind_cli.errors import CliError
from hivemind_cli.joboptions import DURATION
from hivemind_cli.output import counted, emit_json, note
from hivemind_cli.progress import StatusLine
from hivemind_cli.session import Session, command, pass_session
from hivemind_cli.stopping import Stopped, end_dead_node, running_node, stop_jobs, stop_node

if TYPE_CHECKING:
    from hivemind_worker.settings import Settings


@command()
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="The node's directory. [env HIVEMIND_STATE]",
)
@click.option("--stop-jobs", "with_jobs", is_flag=True, help="First stop the node's jobs, and wait for their ends.")
@click.option("--grace", type=DURATION, metavar="TIME", help="With --stop-jobs: between SIGTERM and SIGKILL.")
@pass_session
def down(session: Session, state: Path | None, with_jobs: bool, grace: float | None) -> None:
    """Stop a node that 'hivemind up' started. Its running jobs go on unless --stop-jobs is given."""
    from hivemind_worker.settings import load_settings

    overrides: dict[str, Any] = {"state": state.absolute()} if state else {}
    settings = load_settings(**overrides)
    document = running_node(settings.state)
    if document is None:
        _told(session, settings.state, stopped=bool(end_dead_node(settings.state)), jobs=0)
        return
    stopped = _stop_jobs(session, document, grace) if with_jobs else Stopped()
    with StatusLine() as line:
        line.show("stopping the node", now=True)
        stop_node(document)
    if stopped.drained:
        _resume(settings, document["node"])
    _told(session, settings.state, stopped=True, jobs=stopped.jobs)


def _told(session: Session, state: Path, *, stopped: bool, jobs: int) -> None:
    if session.json:
        emit_json({"state": str(state), "stopped": stopped, "jobs_stopped": jobs})
    elif stopped:
        note(f"the node of {state} is stopped" + (f", and {counted(jobs, 'job')} with it" if jobs else ""))
    else:
        note(f"no node runs on {state}")


def _resume(settings: Settings, node: str) -> None:
    """It was drained to take no more jobs on its way down. Its bridge is gone, so this is for Redis itself."""
    from hivemind_worker.bootstrap import open_stores
    from hivemind_worker.domain.errors import HiveMindError
    from hivemind_worker.domain.node import NodeState

    stores = open_stores(settings)
    try:
        stores.ledger.set_state(node, NodeState.UP)
    except HiveMindError as error:
        note(f"{node} is left draining ({error}); once it is up again: 'hivemind resume {node}'")
    finally:
        stores.close()


def _stop_jobs(session: Session, document: dict[str, Any], grace: float | None) -> Stopped:
    from bridge.client import CallError

    session.bridge = document["bridge"]
    try:
        with session.client() as client, StatusLine() as line:
            return stop_jobs(client, document["node"], grace, line)
    except CallError as error:
        raise CliError(
            f"the jobs could not be stopped ({error.message}), so the node still runs; try again once they can be, "
            "or stop it alone, and let them go on, with 'hivemind down'"
        ) from None
