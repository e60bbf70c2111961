"""Processes that an engine does not know of: they are ended, and their attempt is not started a second time."""

from __future__ import annotations

import os
from pathlib import Path

import docker

from hivemind_worker.execution.survivors import end_survivors

from .execution_kit import BUSYBOX, Kit, until


def test_what_runs_in_a_container_is_ended_whatever_its_engine_thinks(kit: Kit) -> None:
    client = docker.from_env()
    container = client.containers.run(BUSYBOX, ["sh", "-c", "sleep 300 & sleep 300"], detach=True, network_mode="none")
    try:
        until(lambda: end_survivors(container.id) > 0, "its processes are found")
        assert container.wait(timeout=30)["StatusCode"] == 137
        assert end_survivors(container.id) == 0
    finally:
        container.remove(force=True)
        client.close()


def test_names_that_are_no_whole_id_and_containers_that_are_not_there_have_no_survivors() -> None:
    assert end_survivors("") == 0
    assert end_survivors("abc") == 0
    assert end_survivors("f" * 64) == 0


def test_a_process_that_is_not_the_containers_is_left_alone(tmp_path: Path) -> None:
    """The list may name a number that is another process' by now."""
    container = "c" * 64
    group = tmp_path / "memory" / "docker" / container
    group.mkdir(parents=True)
    (group / "cgroup.procs").write_text(f"{os.getpid()}\n")
    assert end_survivors(container, root=tmp_path) == 0
