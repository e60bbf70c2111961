"""The kernel's files about a container, on sample trees of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemind_worker.execution.cgroups import (
    Reading,
    is_init,
    parse,
    parse_proc_cgroup,
    process_list,
    sources,
)

ID = "ab" * 32


def plant(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def total(root: Path, proc_cgroup: str = "") -> Reading:
    reading = Reading()
    for source in sources(root, ID, proc_cgroup):
        reading = reading.joined(parse(source.kind, source.path.read_text()))
    return reading


def v1(group: str) -> dict[str, str]:
    return {
        f"cpuacct/{group}/cpuacct.usage": "1500000000\n",
        f"memory/{group}/memory.max_usage_in_bytes": "4087808\n",
        f"memory/{group}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        f"memory/{group}/cgroup.procs": "17\n18\n",
        f"blkio/{group}/blkio.throttle.io_service_bytes": (
            "8:0 Read 100\n8:0 Write 20\n8:0 Sync 1\n254:0 Read 5\nTotal 126\n"
        ),
    }


def v2(group: str) -> dict[str, str]:
    return {
        "cgroup.controllers": "cpu io memory pids\n",
        f"{group}/cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n",
        f"{group}/memory.peak": "5000\n",
        f"{group}/memory.current": "4000\n",
        f"{group}/memory.events": "low 0\nhigh 0\nmax 9\noom 1\noom_kill 1\noom_group_kill 0\n",
        f"{group}/io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2\n",
        f"{group}/cgroup.procs": "17\n",
    }


V1 = Reading(1.5, 4087808, 105, 20, oom_kills=2)
V2 = Reading(2.5, 5000, 11, 22, oom_kills=1)


def test_a_container_that_is_not_there_has_no_sources(tmp_path: Path) -> None:
    plant(tmp_path, v1("docker/other"))
    assert sources(tmp_path, ID) == ()
    assert process_list(tmp_path, ID) is None


def test_a_path_that_leaves_the_tree_is_not_followed(tmp_path: Path) -> None:
    plant(tmp_path, v1(f"x/{ID}"))
    assert sources(tmp_path / "in", ID, f"4:memory:/../x/{ID}\n") == ()


@pytest.mark.parametrize("group", [f"docker/{ID}", f"system.slice/docker-{ID}.scope"])
def test_version_1_is_read_under_both_drivers(tmp_path: Path, group: str) -> None:
    plant(tmp_path, v1(group))
    assert total(tmp_path) == V1
    assert process_list(tmp_path, ID) == tmp_path / "memory" / group / "cgroup.procs"


@pytest.mark.parametrize("group", [f"docker/{ID}", f"system.slice/docker-{ID}.scope"])
def test_version_2_is_read_under_both_drivers(tmp_path: Path, group: str) -> None:
    plant(tmp_path, v2(group))
    assert total(tmp_path) == V2


def test_version_2_before_memory_peak_falls_back_to_what_is_used_now(tmp_path: Path) -> None:
    files = v2(f"docker/{ID}")
    del files[f"docker/{ID}/memory.peak"]
    plant(tmp_path, files)
    assert total(tmp_path).memory_peak == 4000


def test_an_unusual_place_is_found_through_a_process_of_the_container(tmp_path: Path) -> None:
    plant(tmp_path, v2(f"user.slice/docker-{ID}.scope"))
    assert total(tmp_path) == Reading()
    assert total(tmp_path, f"0::/user.slice/docker-{ID}.scope\n") == V2


def test_joined_controllers_of_version_1_share_a_path() -> None:
    assert parse_proc_cgroup("3:cpu,cpuacct:/docker/x\n0::/\n") == {
        "cpu": "/docker/x",
        "cpuacct": "/docker/x",
        "": "/",
    }


def test_a_jobs_talk_with_itself_is_no_traffic() -> None:
    text = (
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs\n"
        "    lo:    999       9    0    0    0     0          0         0      999       9    0 0 0 0 0 0\n"
        "  eth0:    1234      10    0    0    0     0          0         0      567       8    0 0 0 0 0 0\n"
    )
    assert parse("network", text) == Reading(network_received=1234, network_sent=567)


def test_the_init_is_number_one_inside_and_not_outside() -> None:
    assert is_init("Name:\ttini\nNSpid:\t4711\t1\n")
    assert not is_init("Name:\tsh\nNSpid:\t4712\t7\n")
    assert not is_init("Name:\tsystemd\nNSpid:\t1\n")


def test_a_file_that_says_something_else_is_refused() -> None:
    with pytest.raises(ValueError):
        parse("cpu_ns", "what?")


def test_readings_only_grow() -> None:
    assert V1.joined(Reading(memory_peak=9_000_000)) == Reading(1.5, 9_000_000, 105, 20, oom_kills=2)
