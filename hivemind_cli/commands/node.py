"""`hivemind node set | cordon-gpu | uncordon-gpu`: what an operator changes about a node while it runs."""

from __future__ import annotations

from typing import Any

import click

from hivemind_cli.joboptions import CORES, SIZE, Whole
from hivemind_cli.output import counted, emit_json, note, size
from hivemind_cli.session import Session, command, pass_session, shared_options

#: takes a cap away
NONE = "none"


class OrNone(click.ParamType[Any]):
    """A value of another type, or 'none'."""

    def __init__(self, inner: click.ParamType[Any]) -> None:
        self.name, self._inner = f"{inner.name}|{NONE}", inner

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Text → the value, or NONE."""
        return NONE if str(value).strip().lower() == NONE else self._inner.convert(value, param, ctx)


class Group(click.Group):
    """A group that takes the shared options too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(shared_options())


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
def node() -> None:
    """Change what a node lends while it runs.

    Nothing that runs is ended: a lower cap and a cordon only keep new jobs away.
    """


@command(name="set")
@click.argument("node", required=False, default="")
@click.option("--max-cpu", type=OrNone(CORES), metavar="CORES", help="Cores that jobs may reserve together.")
@click.option("--max-memory", type=OrNone(SIZE), metavar="SIZE", help="Memory that they may, as in 12G.")
@click.option("--max-gpus", type=OrNone(Whole()), metavar="N", help="Devices that may be in use at once.")
@click.option("--max-tasks", type=OrNone(Whole()), metavar="N", help="Jobs that may run at once.")
@pass_session
def set_(session: Session, node: str, **caps: Any) -> None:
    """Cap what NODE (or the only node there is) lends; 'none' takes a cap away.

    Caps are kept with the node's records and so survive a restart. A cap above what the node's own settings or the
    machine allow changes nothing.
    """
    given = {name: value for name, value in caps.items() if value is not None}
    if not given:
        raise click.UsageError("name a cap: --max-cpu, --max-memory, --max-gpus or --max-tasks")
    chosen = {name: value for name, value in given.items() if value != NONE}
    with session.client() as client:
        changed = client.set_node(node, [name for name in given if name not in chosen], **chosen)
    if session.json:
        emit_json(changed)
        return
    lends = changed["allocatable"]
    cores, gpus, jobs = counted(lends["cpu"], "core"), counted(lends["gpus"], "GPU"), counted(lends["slots"], "job")
    note(f"{changed['node']} lends {cores}, {size(lends['memory'])} memory, {gpus}, {jobs}")
    for warning in changed["warnings"]:
        if warning.startswith(tuple(f"{_words(name, value)} " for name, value in chosen.items())):
            note(f"warning: {warning}; it changes nothing")


def _words(name: str, value: float) -> str:
    """How the node's warnings call a cap that is given here. They name others' too, which are no news."""
    from hivemind_worker.domain.node import cap_words

    field, unit = {"max_cpu": ("millicores", 1000), "max_tasks": ("slots", 1)}.get(name, (name.removeprefix("max_"), 1))
    return cap_words(field, round(value * unit))


@command(name="cordon-gpu")
@click.argument("gpu")
@click.option("--node", default="", metavar="NODE", help="Whose it is, where the site has several nodes.")
@pass_session
def cordon_gpu(session: Session, gpu: str, node: str) -> None:
    """Keep new jobs off GPU, named by its UUID or number; what runs on it goes on."""
    _cordon(session, gpu, node, on=True)


@command(name="uncordon-gpu")
@click.argument("gpu")
@click.option("--node", default="", metavar="NODE", help="Whose it is, where the site has several nodes.")
@pass_session
def uncordon_gpu(session: Session, gpu: str, node: str) -> None:
    """Let new jobs on GPU again."""
    _cordon(session, gpu, node, on=False)


def _cordon(session: Session, gpu: str, node: str, *, on: bool) -> None:
    with session.client() as client:
        changed = client.cordon_gpu(gpu, node, on=on)
    if session.json:
        emit_json(changed)
        return
    for device in changed["gpus"]:
        state = device["trouble"] or ("cordoned" if device["cordoned"] else "takes jobs")
        jobs = counted(device["jobs"], "job")
        note(f"{changed['node']} GPU {device['index']} ({device['uuid']}): {state}, {jobs} on it")


for each in (set_, cordon_gpu, uncordon_gpu):
    node.add_command(each)
