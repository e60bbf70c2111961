"""The demo's node: on free ports, in a state of its own, untouched by anybody's settings, and gone afterwards."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hivemind_cli import nodefile
from hivemind_cli.errors import CliError, fault_of

if TYPE_CHECKING:
    from bridge.client import Client

#: settings of the person that the demo's node takes over; nothing else of his node touches it
TAKEN_OVER = frozenset({"HIVEMIND_DEFAULT_IMAGE"})


def private_environment(state: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """An environment in which the settings are the defaults, on free ports, in a state of the demo's own."""
    config = state / "hivemind.toml"
    config.touch()
    env = {name: value for name, value in environ.items() if not name.startswith("HIVEMIND_") or name in TAKEN_OVER}
    return {
        **env,
        "HIVEMIND_CONFIG": str(config),
        "HIVEMIND_STATE": str(state),
        "HIVEMIND_NODE_ID": "demo",
        "HIVEMIND_BRIDGE_PORT": "0",
        "HIVEMIND_API_PORT": "0",
        "HIVEMIND_FLOWER_PORT": "0",
    }


@contextmanager
def demo_node(keep: bool) -> Iterator[dict[str, Any]]:
    """A detached node; its public document. Gone afterwards with its jobs and its state, unless kept."""
    from hivemind_cli.launching import start_detached
    from hivemind_cli.planning import load_plan

    home = cache_home()
    home.mkdir(parents=True, exist_ok=True)
    state = Path(tempfile.mkdtemp(prefix="demo-node-", dir=home))
    kept = False
    try:
        os.environ.update(fresh := private_environment(state, os.environ))
        for name in set(os.environ) - set(fresh):
            del os.environ[name]
        plan, env = load_plan(state)
        for warning in plan.warnings:
            raise CliError(f"the demo needs a container engine: {warning}")
        report = start_detached(plan, env)
        if "failed" in report:
            words = "\n".join(f"  | {line}" for line in report["failed"]["last_words"])
            raise CliError(f"the node did not come up: {report['failed']['message']}\n{words}")
        yield report["up"]
        kept = keep
    finally:
        if not kept:
            take_down(state)


def take_down(state: Path) -> None:
    """Jobs, node and state."""
    from hivemind_cli.progress import StatusLine
    from hivemind_cli.stopping import stop_jobs, stop_node

    document = nodefile.read(state)
    if document is not None and nodefile.runs(document):
        try:
            with client_of(document) as client:
                stop_jobs(client, document["node"], 1.0, StatusLine())
        except Exception as error:
            print(f"demo: its jobs could not be stopped: {error}", file=sys.stderr)
            if fault_of(error, document["bridge"]) is None:
                raise
        finally:
            stop_node(document)
    shutil.rmtree(state, ignore_errors=True)
    if state.exists():
        print(f"demo: could not remove all of {state}", file=sys.stderr)


def cache_home() -> Path:
    """Where the demo keeps what it makes."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hivemind"


def client_of(document: dict[str, Any]) -> Client:
    """A connection to the demo's bridge."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from bridge.client import Client

    return Client(document["bridge"])
