"""`hivemind up`: the whole node on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from hivemind_cli.errors import CliError
from hivemind_cli.output import emit_json, note
from hivemind_cli.session import Session, command, pass_session


@command()
@click.option("--detach", is_flag=True, help="Return once it is ready; 'hivemind down' stops it.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="The node's directory. [env HIVEMIND_STATE]",
)
@pass_session
def up(session: Session, detach: bool, state: Path | None) -> None:
    """Start the whole node on this machine: Redis, bridge, worker, status API, Flower.

    Redis is embedded unless HIVEMIND_REDIS_URL is set. It is ready when it says so. Ctrl-C stops the node; running
    jobs go on and are taken up again by the next 'up'. config/hivemind.toml lists every setting.
    """
    from hivemind_cli.launching import become_supervisor, start_detached
    from hivemind_cli.planning import load_plan
    from hivemind_cli.reporting import announcement, last_words

    plan, env = load_plan(state.absolute() if state else None)
    if not detach:
        become_supervisor(plan, env, as_json=session.json)
    report = start_detached(plan, env)
    if "failed" in report:
        for line in last_words(report["failed"]):
            note(line)
        raise CliError(f"HiveMind did not come up: {report['failed']['message']}", kind="NOT_UP")
    for warning in report["warnings"]:
        note(f"hivemind: warning: {warning}")
    if session.json:
        emit_json(report["up"])
    else:
        print("\n".join(announcement(report["up"], report["seconds"])))
        note(f"'hivemind down --state {report['up']['state']}' stops it; running jobs go on.")
