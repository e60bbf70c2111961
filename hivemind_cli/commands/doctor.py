"""`hivemind doctor`: what a node needs, checked, with a remedy for each fault."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hivemind_cli.output import STATE_COLOURS, emit_json, styled
from hivemind_cli.session import Session, command, pass_session

if TYPE_CHECKING:
    from hivemind_cli.findings import Finding

SIGNS = {"ok": "ok", "warn": "warn", "fail": "FAIL"}


@command()
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="The node's directory. [env HIVEMIND_STATE]",
)
@pass_session
def doctor(session: Session, state: Path | None) -> int:
    """Check what a node needs, with a remedy for each fault. Exits 1 when something is broken."""
    from hivemind_cli.checkup import check_all

    findings = []
    for finding in check_all(state.absolute() if state else None):
        findings.append(finding)
        if not session.json:
            print("\n".join(_lines(finding)), flush=True)
    broken = any(finding.status == "fail" for finding in findings)
    if session.json:
        document: dict[str, Any] = {"ok": not broken, "checks": [asdict(finding) for finding in findings]}
        emit_json(document)
    return int(broken)


def _lines(finding: Finding) -> Iterator[str]:
    sign = styled(f"{SIGNS[finding.status]:<4}", STATE_COLOURS[finding.status])
    yield f"{sign}  {finding.name:<9} {finding.detail}"
    if finding.remedy:
        yield f"{'':17}{finding.remedy}"
