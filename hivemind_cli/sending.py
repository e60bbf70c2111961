"""From a spec to an accepted job: the bundle is packed and uploaded, then the assignment is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hivemind_cli.bundle import Packed, packed
from hivemind_cli.ids import new_id
from hivemind_cli.joboptions import JobSpec
from hivemind_cli.output import note
from hivemind_cli.progress import StatusLine, Transfer

if TYPE_CHECKING:
    from bridge.client import Client


def upload(client: Client, spec: JobSpec, line: StatusLine) -> str:
    """Send the bundle, if there is one; its sha256, '' for none. Raises CliError, CallError."""
    if spec.bundle is None:
        return ""
    line.show(f"packing {spec.bundle}", now=True)
    with packed(spec.bundle) as bundle:
        _tell(bundle, line)
        digest = client.upload(bundle.path, Transfer(line, "uploading"))
    line.clear()
    return digest


def _tell(bundle: Packed, line: StatusLine) -> None:
    if bundle.left_out:
        line.clear()
        shown = ", ".join(bundle.left_out[:3])
        more = f" and {len(bundle.left_out) - 3} more" if len(bundle.left_out) > 3 else ""
        note(f"hivemind: left out of the bundle: {shown}{more}")


def send(client: Client, spec: JobSpec, task_id: str | None, line: StatusLine) -> dict[str, Any]:
    """Upload and assign; the bridge's answer {task_id, state, created}. Raises CliError, CallError."""
    digest = upload(client, spec, line)
    return client.assign(spec.assignment(task_id or new_id(), digest))
