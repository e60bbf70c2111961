"""From a job to the container it may have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hivemind_worker.domain.assignment import Assignment
from hivemind_worker.domain.errors import EntrypointRefused
from hivemind_worker.domain.job import Job, State, Times
from hivemind_worker.domain.resources import MIB
from hivemind_worker.execution.found import Found, ImageInfo
from hivemind_worker.execution.sandbox import Identity, Place, Program, container_body, program_of
from hivemind_worker.settings import Settings, load_settings

IMAGE = ImageInfo(id="sha256:1", entrypoint=("/enter",), command=("serve",))
IDENTITY = Identity("site", "n1", "t1", 2)


def job(**fields: Any) -> Job:
    spec = Assignment.parse(
        {
            "task_id": "t1",
            "image": "img:1",
            "requests": {"cpu": 0.5, "memory": 64 * MIB, "disk": MIB, "pids": 32},
            "timeout_seconds": 9.0,
            **fields,
        }
    )
    return Job(assignment=spec, state=State.PREPARING, attempt=2, times=Times(created=0))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(state=tmp_path)


def body(settings: Settings, made: Job, image: ImageInfo = IMAGE, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"secrets": {}, "gpus": (), "extra_env": {}, "lent": None, **more}
    return container_body(
        made,
        identity=IDENTITY,
        program=Program((), ("run",)),
        place=Place(Path("/state/w"), 64646, 64646),
        image=image,
        settings=settings,
        **given,
    )


def test_an_image_and_an_assignment_without_a_program_are_refused() -> None:
    with pytest.raises(EntrypointRefused, match="neither a command nor a bundle"):
        program_of(job().assignment, ImageInfo(id="x"), None)


def test_without_a_bundle_the_command_means_what_it_means_to_docker() -> None:
    assert program_of(job().assignment, IMAGE, None) == Program(("/enter",), ("serve",))
    assert program_of(job(command=("x",)).assignment, IMAGE, None) == Program(("/enter",), ("x",))


def test_a_bundles_program_replaces_the_images_entry_point() -> None:
    assert program_of(job().assignment, IMAGE, ("python3", "main.py")) == Program((), ("python3", "main.py"))


def test_the_caps_are_the_requests_numbers(settings: Settings) -> None:
    host = body(settings, job())["HostConfig"]
    assert host["NanoCpus"] == 500_000_000
    assert host["Memory"] == host["MemorySwap"] == 64 * MIB
    assert host["PidsLimit"] == 32
    assert host["CpuShares"] == 512


def test_nothing_of_a_container_is_privileged(settings: Settings) -> None:
    made = body(settings, job())
    host = made["HostConfig"]
    assert made["User"] == "64646:64646"
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert host["ReadonlyRootfs"] is True
    assert host["NetworkMode"] == "none"
    assert host["Privileged"] is False
    assert host["Init"] is True
    assert [mount["Target"] for mount in host["Mounts"]] == ["/workspace"]


def test_volumes_that_an_image_declares_become_memory(settings: Settings) -> None:
    image = ImageInfo(id="x", volumes=("/data", "/workspace"))
    mounts = body(settings, job(), image)["HostConfig"]["Mounts"]
    assert [(mount["Target"], mount["Type"]) for mount in mounts] == [("/workspace", "bind"), ("/data", "tmpfs")]


def test_our_names_win_over_the_jobs_and_its_secrets(settings: Settings) -> None:
    made = body(settings, job(env={"TASK_ID": "x", "A": "1", "B": "1"}), secrets={"B": "2"})
    env = dict(item.split("=", 1) for item in made["Env"])
    assert env["TASK_ID"] == "t1"
    assert env["HIVEMIND_ATTEMPT"] == "2"
    assert env["HOME"] == "/workspace"
    assert (env["A"], env["B"]) == ("1", "2")


def test_a_job_may_choose_its_home(settings: Settings) -> None:
    made = body(settings, job(env={"HOME": "/tmp"}), secrets={})
    assert "HOME=/tmp" in made["Env"]


def test_devices_are_given_by_uuid_and_none_without_a_request(settings: Settings) -> None:
    none = body(settings, job(env={"NVIDIA_VISIBLE_DEVICES": "all"}))
    assert none["HostConfig"]["DeviceRequests"] == []
    assert "NVIDIA_VISIBLE_DEVICES=void" in none["Env"]
    two = body(settings, job(), gpus=("GPU-a", "GPU-b"))
    assert two["HostConfig"]["DeviceRequests"] == [
        {"DeviceIDs": ["GPU-a", "GPU-b"], "Capabilities": [["gpu", "compute", "utility"]]}
    ]
    assert "NVIDIA_VISIBLE_DEVICES=GPU-a,GPU-b" in two["Env"]


def test_a_job_with_a_device_chooses_neither_its_devices_nor_what_stands_before_the_driver(settings: Settings) -> None:
    wishes = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "all", "LD_PRELOAD": "/evil.so"}
    env = body(settings, job(env=wishes), gpus=("GPU-a",))["Env"]
    assert {"NVIDIA_VISIBLE_DEVICES=GPU-a", "NVIDIA_DRIVER_CAPABILITIES=compute,utility", "LD_PRELOAD="} <= set(env)
    assert not any("all" in each or "evil" in each for each in env)
    assert "LD_PRELOAD=/evil.so" in body(settings, job(env=wishes))["Env"]


def test_an_attempts_container_is_known_by_its_labels() -> None:
    assert IDENTITY.name == "hm-t1-2"
    assert IDENTITY.owns(Found("1", "hm-t1-2", "running", IDENTITY.labels))
    assert IDENTITY.owns(Found("1", "hm-t1-2", "running", {**IDENTITY.labels, "hivemind.node": "renamed"}))
    assert not IDENTITY.owns(Found("1", "hm-t1-2", "running", {**IDENTITY.labels, "hivemind.site": "other"}))
    assert not IDENTITY.owns(Found("1", "hm-t1-2", "running", {}))


def host(settings: Settings, *, lent: int | None = 4000, **asked: object) -> dict[str, Any]:
    made = body(settings, job(requests={"memory": 64 * MIB, "disk": MIB, "pids": 32, **asked}), lent=lent)["HostConfig"]
    assert isinstance(made, dict)
    return made


def test_the_cap_on_cores_is_the_limit_within_what_the_node_lends_and_the_weight_is_the_request(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert (host(settings, cpu=0.5)["NanoCpus"], host(settings, cpu=0.5)["CpuShares"]) == (5 * 10**8, 512)
    burst = host(settings, cpu=0.5, cpu_limit=3.0)
    assert (burst["NanoCpus"], burst["CpuShares"]) == (3 * 10**9, 512)
    assert host(settings, lent=1000, cpu=0.5, cpu_limit=3.0)["NanoCpus"] == 10**9
    assert host(settings, lent=9000, cpu=0.5, cpu_limit=64.0)["NanoCpus"] == 4 * 10**9, "the engine refuses more"


@pytest.mark.parametrize("lent", [None, 0, 200])
def test_a_job_has_what_it_asked_for_whatever_the_node_lends_by_now(settings: Settings, lent: int | None) -> None:
    assert host(settings, lent=lent, cpu=0.5, cpu_limit=2.0)["NanoCpus"] == 5 * 10**8


def test_an_owners_cap_bounds_a_limit_by_what_it_lends_and_one_above_the_machine_does_not(settings: Settings) -> None:
    high = settings.model_copy(update={"max_cpu_cores": 999.0})
    assert host(high, lent=1000, cpu=0.5, cpu_limit=1.0)["NanoCpus"] == 10**9


def test_a_reclaimable_job_weighs_as_little_as_the_kernel_allows(settings: Settings) -> None:
    assert host(settings, cpu=1.0, reclaimable=True)["CpuShares"] == 2
