"""What the engine says, and what we make of it."""

from __future__ import annotations

import pytest

from hivemind_worker.domain.errors import EngineUnavailable, EntrypointRefused, SettingsError
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.execution.engine import common_version
from hivemind_worker.execution.found import parse_found, parse_image, parse_listed, parse_time
from hivemind_worker.execution.images import explain, may_be_pulled, split_reference
from hivemind_worker.execution.launch import _start_refused
from hivemind_worker.execution.wire import Address, EngineRefused, refusal


@pytest.mark.parametrize(
    "url", ["ssh://host", "npipe:////./pipe/x", "http://host", "unix:relative", "tcp://", "nonsense"]
)
def test_an_engine_that_cannot_share_this_machines_files_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="HIVEMIND_DOCKER_HOST"):
        Address.parse(url)


def test_tls_is_refused_rather_than_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    with pytest.raises(SettingsError, match="without TLS"):
        Address.parse("tcp://127.0.0.1:2376")


def test_addresses() -> None:
    assert Address.parse(None).path == "/var/run/docker.sock"
    assert Address.parse("unix:///run/x.sock").path == "/run/x.sock"
    assert Address.parse("tcp://127.0.0.1:2375") == Address("tcp://127.0.0.1:2375", "", "127.0.0.1", 2375)


def test_a_gateway_without_an_engine_is_an_engine_away() -> None:
    assert isinstance(refusal(503, "no backend"), EngineUnavailable)
    assert isinstance(refusal(500, "OCI runtime create failed"), EngineRefused)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("pull access denied for nope, repository does not exist or may require 'docker login'", "is unknown"),
        ("manifest for a/b:1 not found: manifest unknown: manifest unknown", "is unknown"),
        ('Get "https://registry-1.docker.io/v2/": dial tcp: lookup x: no such host', "cannot be reached"),
        ('Get "http://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused', "cannot be reached"),
        ("no matching manifest for linux/amd64 in the manifest list entries", "no variant for this node's platform"),
        ("toomanyrequests: rate limit", "cannot be pulled (toomanyrequests"),
    ],
)
def test_a_failed_pull_is_explained(words: str, expected: str) -> None:
    assert expected in explain("a/b:1", words)


def test_references_are_split_where_docker_splits_them() -> None:
    assert split_reference("python") == ("python", "latest")
    assert split_reference("python:3.11-slim") == ("python", "3.11-slim")
    assert split_reference("host:5000/a/b") == ("host:5000/a/b", "latest")
    assert split_reference("host:5000/a/b:1") == ("host:5000/a/b", "1")
    assert split_reference("a/b@sha256:ff") == ("a/b", "sha256:ff")


def test_only_names_under_localhost_are_never_pulled() -> None:
    assert not may_be_pulled("localhost/a:1")
    assert may_be_pulled("localhost:5000/a:1")
    assert may_be_pulled("python:3")


def test_a_program_that_runc_does_not_find_is_the_entry_points_fault_and_dockers_own_init_is_not() -> None:
    words = (
        'runc create failed: unable to start container process: exec: "sh": executable file not found in $PATH: unknown'
    )
    assert isinstance(_start_refused(EngineRefused(400, words)), EntrypointRefused)
    words = 'exec: "docker-init": executable file not found in $PATH: unknown'
    assert isinstance(_start_refused(EngineRefused(500, words)), EngineRefused)


@pytest.mark.parametrize(
    "why",
    [
        "resource temporarily unavailable", "cannot allocate memory", "no space left on device",
        "too many open files", "input/output error",
    ],
)  # fmt: skip
def test_a_machine_without_room_for_a_process_is_not_the_programs_fault(why: str) -> None:
    refused = _start_refused(EngineRefused(500, f'unable to start container process: exec: "sh": {why}: unknown'))
    assert isinstance(refused, EngineRefused)
    assert refused.cause is Cause.ENGINE


def test_the_version_is_the_newest_that_both_sides_know() -> None:
    assert common_version("1.41", "1.12") == "1.41"
    assert common_version("1.52", "1.24") == "1.44"
    assert common_version("1.60", "1.50") == "1.50"


def test_times_of_the_engine() -> None:
    assert parse_time("0001-01-01T00:00:00Z") is None
    assert parse_time("1970-01-01T00:00:01.500000000Z") == 1.5
    assert parse_time("1970-01-01T01:00:01+01:00") == 1.0


def test_answers_with_nulls_are_read() -> None:
    assert parse_image({"Id": "x", "Config": {"Cmd": None, "Entrypoint": None, "Volumes": None}}).command == ()
    found = parse_found({"Id": "x", "Name": "/hm-a-1", "State": {"Status": "exited", "ExitCode": 3}, "Config": {}})
    assert (found.name, found.exit_code, found.running) == ("hm-a-1", 3, False)
    assert parse_listed({"Id": "x", "Names": ["/hm-a-1"], "State": "running", "Created": 5}).running
