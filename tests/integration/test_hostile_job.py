"""A real container does its worst to its workspace; the artifact and the removal take it."""

from __future__ import annotations

import os
from pathlib import Path

import docker
import pytest

from hivemind_worker.delivery.artifacts import ArtifactLimits, collect_artifact
from hivemind_worker.domain.resources import GIB
from hivemind_worker.execution.workspace import create_workspace, disk_usage
from tests import zips

IMAGE = "localhost/hivemind-busybox:latest"
JOB = 64646
#: what a program may try that owns nothing but its workspace
WORST = """
mkfifo fifo
ln -s /etc/shadow shadow
ln -s / root
ln -s . here
echo kept > kept
ln kept kept_too
truncate -s 1024G sparse
mknod device c 1 3 2>/dev/null
mkdir -p closed/inside; echo x > closed/inside/file; chmod 000 closed/inside/file closed/inside closed
printf 'x' > "$(printf 'caf\\351')"
ln -s /etc outcome.json
echo mine > execution_log.txt
i=0; while [ $i -lt 300 ]; do mkdir d && cd d && i=$((i+1)); done
echo deep > leaf
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="gives the workspace to another user")
def test_what_a_hostile_container_leaves_is_collected_safely_measured_and_removed(tmp_path: Path) -> None:
    workspace = create_workspace(tmp_path / "workspaces", "job", 1, JOB, JOB)
    workspace.record_baseline()
    workspace.log.write_text("log\n")
    client = docker.from_env()
    try:
        client.containers.run(
            IMAGE, ["sh", "-c", WORST], user=f"{JOB}:{JOB}", working_dir="/workspace", network_mode="none",
            cap_drop=["ALL"], remove=True, volumes={str(workspace.work): {"bind": "/workspace", "mode": "rw"}},
        )  # fmt: skip
    finally:
        client.close()
    assert disk_usage(workspace.work) < GIB
    target = tmp_path / "artifact.zip"
    report = collect_artifact(
        workspace.work, workspace.baseline(), workspace.log, "{}", target, ArtifactLimits(GIB, 100)
    )
    inside = zips.read(target)
    assert inside.pop("outcome.json").startswith(b"{")
    assert inside == {
        "caf%E9": b"x",
        "kept": b"kept\n",
        "kept_too": b"kept\n",
        "job.execution_log.txt": b"mine\n",
        "closed/inside/file": b"x\n",
        "execution_log.txt": b"log\n",
    }
    left_out = dict(report.skipped)
    assert left_out.pop("/".join(["d"] * 101)) == "is nested deeper than 100 directories"
    assert left_out == {
        "fifo": "is a FIFO",
        "here": "is a symbolic link",
        "outcome.json": "is a symbolic link",
        "root": "is a symbolic link",
        "shadow": "is a symbolic link",
        "sparse": "is 1T, too large for the cap of 1G",
    }
    assert "'sparse' with 1T is left out" in report.over
    assert workspace.remove()
    assert not workspace.root.exists()
