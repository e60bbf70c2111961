"""A job as a container on the real engine: how it runs, and every way in which it ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import BundleLost, BundleRefused, DiskExhausted, EntrypointRefused, ImageRefused
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.domain.resources import MIB
from hivemind_worker.execution.handle import Handle, StoppedEarly
from hivemind_worker.execution.janitor import Janitor
from hivemind_worker.settings import Settings
from hivemind_worker.store.logs import Stream

from .execution_kit import BUSYBOX, STATIC, Kit, lines, until


@pytest.fixture
def kit(settings: Settings, stores: Stores) -> Iterator[Kit]:
    made = Kit(settings, stores)
    yield made
    made.close()


def memory(name: str) -> int:
    """A line of this process's status, in bytes."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name))


def python(code: str) -> tuple[str, str, str]:
    return ("python3", "-c", code)


# --- refused before anything is started ---------------------------------------------------------------------


def test_an_image_under_localhost_that_is_not_there_is_refused_without_asking_a_registry(kit: Kit) -> None:
    with pytest.raises(ImageRefused, match=r"localhost/no-such:1 is not on this node.*never pulled"):
        kit.run(kit.job("true", image="localhost/no-such:1"))
    assert kit.leftovers() == []


def test_an_image_whose_registry_cannot_be_reached_is_refused_with_a_remedy(kit: Kit) -> None:
    with pytest.raises(ImageRefused, match=r"registry cannot be reached.*docker load"):
        kit.run(kit.job("true", image="127.0.0.1:9/no/such:1"))
    assert kit.leftovers() == []


def test_a_bundle_that_is_no_zip_is_refused_and_leaves_nothing(kit: Kit, settings: Settings) -> None:
    path = settings.state / "tmp" / "no.zip"
    path.write_bytes(b"this is not a zip")
    digest = kit.stores.bundles.add(path).sha256
    with pytest.raises(BundleRefused):
        kit.run(kit.job(bundle_sha256=digest))
    assert kit.leftovers() == []


def test_a_bundle_that_was_damaged_on_the_node_is_the_nodes_fault_and_can_be_sent_again(kit: Kit) -> None:
    job = kit.job(bundle={"main.py": b"print(6 * 7)", "data": bytes(1000)})
    digest = job.assignment.bundle_sha256
    kept = kit.stores.bundles.local_copy(digest, Path("unused"))
    sent = kept.read_bytes()
    for damage in (sent[:-30], sent.replace(b"6 * 7", b"6 * 8")):
        kept.write_bytes(damage)
        with pytest.raises(BundleLost, match="is not what was sent, and was put aside") as lost:
            kit.run(job)
        assert lost.value.cause is Cause.INTERNAL
        assert not kit.stores.bundles.exists(digest)
    with pytest.raises(BundleLost, match="is not on this node"):
        kit.run(job)
    with kit.stores.bundles.writer() as writer:
        writer.write(sent)
        assert writer.commit().sha256 == digest
    assert kit.run(job)[1].exit_code == 0


def test_a_bundle_without_an_entry_point_is_refused_and_leaves_nothing(kit: Kit) -> None:
    with pytest.raises(EntrypointRefused, match=r"run_task.sh"):
        kit.run(kit.job(bundle={"notes.txt": b"hello"}))
    with pytest.raises(EntrypointRefused, match=r"inside the folder 'proj' and must lie at the zip's root"):
        kit.run(kit.job(bundle={"proj/main.py": b"hello"}))
    assert kit.leftovers() == []


def test_a_bundle_larger_than_the_jobs_disk_is_refused_and_leaves_nothing(kit: Kit) -> None:
    with pytest.raises(DiskExhausted, match=r"the bundle alone takes 3M .* more than the job's disk of 1M"):
        kit.run(kit.job(bundle={"main.py": b"", "data": os.urandom(3 * MIB)}, requests={"disk": MIB}))
    assert kit.leftovers() == []


def test_a_stop_that_comes_first_starts_nothing(kit: Kit) -> None:
    handle = Handle()
    handle.stop(1.0)
    with pytest.raises(StoppedEarly):
        kit.run(kit.job("true"), handle)
    assert kit.leftovers() == []


def test_a_container_name_that_another_site_took_is_a_clear_error_and_is_left_alone(kit: Kit) -> None:
    job = kit.job("true")
    name = f"hm-{job.task_id}-1"
    body = {"Image": BUSYBOX, "Cmd": ["true"], "Labels": {"hivemind.site": "other"}}
    foreign = kit.engine.create(name, body)
    try:
        with pytest.raises(Exception, match="not this site's"):
            kit.run(job)
        kit.close()
        assert kit.engine.inspect(foreign) is not None
    finally:
        kit.engine.remove(foreign)


# --- programs that cannot be started --------------------------------------------------------------------------


def test_a_command_that_is_not_in_the_image_is_the_entry_points_fault(kit: Kit) -> None:
    _, ended = kit.run(kit.job("no-such-program", "--flag"))
    assert ended.cause is Cause.ENTRYPOINT
    assert "'no-such-program' cannot be started" in ended.evidence
    assert "No such file or directory" in ended.evidence


def test_a_file_that_is_not_executable_is_the_entry_points_fault(kit: Kit) -> None:
    _, ended = kit.run(kit.job("/etc/passwd"))
    assert ended.cause is Cause.ENTRYPOINT
    assert "Permission denied" in ended.evidence


def test_a_shell_script_in_an_image_without_a_shell_says_so(kit: Kit) -> None:
    _, ended = kit.run(kit.job(image=STATIC, bundle={"run_task.sh": b"echo hi\n"}))
    assert ended.cause is Cause.ENTRYPOINT
    assert "without a shell" in ended.evidence


def test_a_program_that_exits_with_127_itself_is_not_taken_for_a_missing_one(kit: Kit) -> None:
    _, ended = kit.run(kit.job("sh", "-c", "echo working; no-such-thing"))
    assert (ended.cause, ended.exit_code) == (Cause.EXIT, 127)


# --- ends -------------------------------------------------------------------------------------------------------


def test_a_job_that_succeeds_is_ok_with_its_output_and_usage(kit: Kit) -> None:
    job = kit.job(*python("import sys; print('out'); print('err', file=sys.stderr); sum(range(3_000_000))"))
    prepared, ended = kit.run(job)
    assert (ended.cause, ended.exit_code) == (Cause.OK, 0)
    assert sorted(lines(prepared.workspace.log.read_bytes())) == ["err", "out"]
    assert kit.live(job) == b"out\n"
    assert kit.live(job, Stream.STDERR) == b"err\n"
    assert ended.log.bytes == 8
    assert not ended.log.truncated
    assert ended.usage.cpu_seconds > 0.02
    assert ended.usage.memory_peak > MIB
    assert ended.usage.wall_seconds > 0


def test_a_job_that_ends_at_once_still_has_a_reading(kit: Kit) -> None:
    _, ended = kit.run(kit.job("true", image=BUSYBOX))
    assert ended.cause is Cause.OK
    assert ended.usage.cpu_seconds > 0
    assert ended.usage.memory_peak > 0


def test_an_exit_code_is_reported(kit: Kit) -> None:
    _, ended = kit.run(kit.job("sh", "-c", "exit 7"))
    assert (ended.cause, ended.exit_code) == (Cause.EXIT, 7)


def test_a_signal_of_its_own_is_named(kit: Kit) -> None:
    _, ended = kit.run(kit.job("sh", "-c", "kill -SEGV $$"))
    assert (ended.cause, ended.exit_code) == (Cause.EXIT, 139)
    assert "SIGSEGV" in ended.evidence


def test_memory_beyond_the_cap_is_oom(kit: Kit) -> None:
    # It lingers near its cap: a container that is gone at once leaves nobody the time to read its account.
    code = "import time; a = bytearray(37 * 2**20); time.sleep(1); b = bytearray(200 * 2**20)"
    _, ended = kit.run(kit.job(*python(code), requests={"memory": 48 * MIB}))
    assert (ended.cause, ended.exit_code) == (Cause.OOM, 137)
    assert "memory cap of 48M" in ended.evidence
    assert 40 * MIB < ended.usage.memory_peak <= 48 * MIB


def test_a_child_killed_for_memory_is_the_cause_when_its_parent_fails_for_it(kit: Kit) -> None:
    child = "subprocess.run([sys.executable, '-c', 'bytearray(2**28)'])"
    code = f"import subprocess, sys; sys.exit(3 if {child}.returncode else 0)"
    _, ended = kit.run(kit.job(*python(code), requests={"memory": 48 * MIB}))
    assert (ended.cause, ended.exit_code) == (Cause.OOM, 3)


def test_a_job_that_outruns_its_timeout_is_ended(kit: Kit) -> None:
    _, ended = kit.run(kit.job("sleep", "60", timeout_seconds=0.5))
    assert ended.cause is Cause.TIMEOUT
    assert "timeout of 0.5 s" in ended.evidence


def test_a_timeout_beats_the_exit_code_of_a_program_that_ends_well_on_sigterm(kit: Kit) -> None:
    code = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); time.sleep(60)"
    _, ended = kit.run(kit.job(*python(code), timeout_seconds=1.5))
    assert (ended.cause, ended.exit_code) == (Cause.TIMEOUT, 0)


def test_a_program_that_ignores_sigterm_is_killed_after_the_grace(kit: Kit) -> None:
    code = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True))\n"
        "print('up', flush=True)\n"
        "while True: time.sleep(9)"
    )
    job = kit.job(*python(code))
    with contextlib.closing(Handle()) as handle:
        body = kit.start(job, handle)
        until(lambda: kit.live(job) == b"up\n", "the program is up")
        handle.stop(0.5)
        ended = body.result()
    assert (ended.cause, ended.exit_code) == (Cause.CANCELLED, 137)
    assert kit.live(job) == b"up\nno\n"


def test_a_stop_without_grace_kills(kit: Kit) -> None:
    job = kit.job("sleep", "60")
    with contextlib.closing(Handle()) as handle:
        body = kit.start(job, handle)
        handle.stop(0.0)
        ended = body.result()
    assert (ended.cause, ended.exit_code) == (Cause.CANCELLED, 137)


def test_a_workspace_that_outgrows_its_disk_ends_the_job(kit: Kit) -> None:
    code = "open('big', 'wb').write(bytes(8 * 2**20)); import time; time.sleep(60)"
    _, ended = kit.run(kit.job(*python(code), requests={"disk": 2 * MIB}))
    assert ended.cause is Cause.DISK
    assert "more than its disk of 2M" in ended.evidence


def test_a_sparse_file_counts_what_it_holds(kit: Kit) -> None:
    code = "open('big', 'wb').truncate(2**40); import time; time.sleep(3)"
    _, ended = kit.run(kit.job(*python(code), requests={"disk": 2 * MIB}))
    assert ended.cause is Cause.OK


# --- the sandbox ------------------------------------------------------------------------------------------------


def test_a_fork_bomb_is_held_by_the_pids_cap(kit: Kit) -> None:
    code = (
        "import os, time\n"
        "n = 0\n"
        "try:\n"
        "    while n < 500:\n"
        "        if os.fork() == 0: time.sleep(60)\n"
        "        n += 1\n"
        "except OSError as error: print(n, error.strerror)\n"
    )
    job = kit.job(*python(code), requests={"pids": 16})
    _, ended = kit.run(job)
    assert ended.cause is Cause.OK
    count, _, words = kit.live(job).decode().partition(" ")
    assert int(count) < 16
    assert "temporarily unavailable" in words


def test_the_program_runs_as_nobody_in_particular_without_capabilities_or_network(kit: Kit) -> None:
    code = (
        "import os\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print(os.getuid(), os.getgid(), int(status['CapEff'], 16), status['NoNewPrivs'].strip(), os.getcwd())\n"
        "print(sorted(os.listdir('/sys/class/net')))\n"
        "open('/workspace/here', 'w').write('x'); open('/tmp/there', 'w').write('x')\n"
        "try: open('/etc/no', 'w')\n"
        "except OSError as error: print(error.strerror)\n"
        "env = os.environ\n"
        "print(env['TASK_ID'], env['HIVEMIND_ATTEMPT'], env['HOME'], env['PW'], env['A'])\n"
        "print(env['PYTHONUNBUFFERED'], env['NVIDIA_VISIBLE_DEVICES'])\n"
    )
    job = kit.job(*python(code), env={"A": "b", "TASK_ID": "mine"})
    prepared, ended = kit.run(job, PW="hidden")
    uid = prepared.workspace.work.stat().st_uid
    assert ended.cause is Cause.OK, kit.live(job, Stream.STDERR)
    assert list(lines(kit.live(job))) == [
        f"{uid} {uid} 0 1 /workspace",
        "['lo']",
        "Read-only file system",
        f"{job.task_id} 1 /workspace hidden b",
        "1 void",
    ]
    assert "hidden" not in repr(prepared)


def test_the_internet_is_there_on_request(kit: Kit) -> None:
    job = kit.job(*python("import os; print(sorted(os.listdir('/sys/class/net')))"), network="internet")
    _, ended = kit.run(job)
    assert ended.cause is Cause.OK
    assert b"eth0" in kit.live(job)


# --- bundles ----------------------------------------------------------------------------------------------------


def test_a_bundles_program_finds_its_files_and_writes_beside_them(kit: Kit) -> None:
    program = b"print(open('data.txt').read()); open('out.txt', 'w').write('done')"
    job = kit.job(bundle={"main.py": program, "data.txt": b"shipped"})
    prepared, ended = kit.run(job)
    assert ended.cause is Cause.OK, ended
    assert kit.live(job) == b"shipped\n"
    assert (prepared.workspace.work / "out.txt").read_text() == "done"


# --- output -----------------------------------------------------------------------------------------------------


def test_binary_output_arrives_byte_for_byte(kit: Kit) -> None:
    code = "import os; d = bytes(range(256)) * 1000; [os.write(1, d[i:i+7000]) for i in range(0, len(d), 7000)]"
    job = kit.job(*python(code))
    prepared, ended = kit.run(job)
    expected = bytes(range(256)) * 1000
    assert prepared.workspace.log.read_bytes() == expected
    assert kit.live(job) == expected
    assert ended.log.bytes == len(expected)
    numbers = [chunk.number for chunk in kit.chunks(job)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_gigabyte_of_output_is_capped_with_a_marker_and_costs_little_memory(kit: Kit) -> None:
    code = "import os\nfor _ in range(1024): os.write(1, b'x' * 2**20)\nos.write(1, b'the end')"
    job = kit.job(*python(code), timeout_seconds=600.0)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far (proc(5))
    before = memory("VmRSS")
    prepared, ended = kit.run(job)
    grown = memory("VmHWM") - before
    cap = kit.settings.max_log_bytes
    log = prepared.workspace.log.read_bytes()
    dropped = 2**30 + 7 - cap
    assert ended.cause is Cause.OK
    assert (ended.log.bytes, ended.log.truncated) == (2**30 + 7, True)
    assert f"{dropped} bytes of output were dropped here: the log is capped at {cap} bytes".encode() in log
    assert log.endswith(b"xthe end")
    assert len(log) < cap + 1000
    assert f"{dropped} bytes".encode() in kit.live(job, Stream.NOTICE)
    assert len(kit.live(job)) == cap
    assert grown <= 32 * MIB


def test_a_stream_of_single_bytes_is_capped_as_any_other(kit: Kit) -> None:
    code = "import os\nfor _ in range(150000): os.write(1, b'o'); os.write(2, b'e')"
    kit.settings = kit.settings.model_copy(update={"max_log_bytes": 64 * 1024})
    kit.runner = kit.new_runner()
    job = kit.job(*python(code), requests={"cpu": 2.0})
    prepared, ended = kit.run(job)
    assert ended.log.bytes == 300_000
    assert len(prepared.workspace.log.read_bytes()) <= 64 * 1024 + 200
    assert len(kit.chunks(job)) < 10_000


def test_the_live_log_of_a_second_attempt_goes_on_after_the_firsts(kit: Kit) -> None:
    first = kit.job("echo", "one")
    kit.run(first)
    second = first.model_copy(
        update={"attempt": 2, "assignment": first.assignment.model_copy(update={"command": ("echo", "two")})}
    )
    kit.stores.redis.hset(kit.stores.keys.job(first.task_id), "attempt", 2)
    kit.run(second)
    assert [(chunk.number, chunk.attempt, chunk.data) for chunk in kit.chunks(first)] == [
        (1, 1, b"one\n"),
        (2, 2, b"two\n"),
    ]


# --- afterwards -------------------------------------------------------------------------------------------------


def test_cleaning_leaves_nothing_or_the_workspace_that_is_to_be_kept(kit: Kit) -> None:
    prepared, _ = kit.run(kit.job("false"))
    assert not kit.runner.keep(prepared), "the settings do not ask for it"
    kit.settings = kit.settings.model_copy(update={"keep_failed_workspace": 60.0})
    kit.runner = kit.new_runner()
    assert not kit.runner.keep(None)
    assert kit.runner.keep(prepared)
    kit.runner.clean(prepared, keep_workspace=True)
    assert kit.leftovers() == [prepared.workspace.root.name]
    Janitor(kit.engine, kit.settings, site_id=kit.stores.ledger.site_id, node="n1").sweep(frozenset)
    assert kit.leftovers() == [prepared.workspace.root.name]
    kit.runner.clean(prepared, keep_workspace=False)
    assert kit.leftovers() == []
