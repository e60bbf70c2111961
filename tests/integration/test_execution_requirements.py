"""requirements.txt of a bundle, installed in the container before its program starts."""

from __future__ import annotations

import io
import zipfile

from hivemind_worker.domain.outcome import Cause
from hivemind_worker.store.logs import Stream

from .execution_kit import BUSYBOX, STATIC, Kit


def wheel() -> bytes:
    """The smallest wheel: one module, one script."""
    packed = io.BytesIO()
    info = "hmgreet-1.0.dist-info"
    with zipfile.ZipFile(packed, "w") as made:
        made.writestr("hmgreet.py", "def greet():\n    print('greetings')\n")
        made.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: hmgreet\nVersion: 1.0\n")
        made.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        made.writestr(f"{info}/entry_points.txt", "[console_scripts]\nhmgreet = hmgreet:greet\n")
        made.writestr(f"{info}/RECORD", "")
    return packed.getvalue()


def test_a_package_that_cannot_be_had_without_a_network_is_the_bundles_fault_with_a_remedy(kit: Kit) -> None:
    job = kit.job(bundle={"main.py": b"print('ran')", "requirements.txt": b"no-such-package-of-ours==1.0\n"})
    _, ended = kit.run(job)
    assert ended.cause is Cause.BUNDLE
    assert "--network internet" in ended.evidence
    assert "wheels/" in ended.evidence
    assert "no-such-package-of-ours" in ended.evidence
    assert b"no-such-package-of-ours" in kit.live(job, Stream.STDERR)
    assert b"ran" not in kit.live(job)


def test_an_image_without_pip_says_so(kit: Kit) -> None:
    _, ended = kit.run(kit.job(image=BUSYBOX, bundle={"run_task.sh": b"echo ran", "requirements.txt": b"anything\n"}))
    assert ended.cause is Cause.BUNDLE
    assert "no python3 with pip" in ended.evidence


def test_an_image_without_a_shell_cannot_install(kit: Kit) -> None:
    _, ended = kit.run(kit.job("/busybox", "true", image=STATIC, bundle={"requirements.txt": b"anything\n"}))
    assert ended.cause is Cause.ENTRYPOINT
    assert "installs no requirements.txt" in ended.evidence


def test_the_programs_own_failure_is_not_taken_for_the_installers(kit: Kit) -> None:
    _, ended = kit.run(kit.job(bundle={"main.py": b"raise SystemExit(1)", "requirements.txt": b"pip\n"}))
    assert (ended.cause, ended.exit_code) == (Cause.EXIT, 1)


def test_a_timeout_during_the_installation_is_a_timeout(kit: Kit) -> None:
    files = {"main.py": b"", "requirements.txt": b"pip\n"}
    _, ended = kit.run(kit.job(bundle=files, timeout_seconds=0.1))
    assert ended.cause is Cause.TIMEOUT


def test_what_the_image_has_already_needs_no_network(kit: Kit) -> None:
    job = kit.job(bundle={"main.py": b"import pip; print('ran')", "requirements.txt": b"pip>=1\n"})
    prepared, ended = kit.run(job)
    assert ended.cause is Cause.OK, kit.live(job, Stream.STDERR)
    assert kit.live(job) == b"ran\n"
    assert not (prepared.workspace.work / ".hivemind" / "site-packages").exists()


def test_wheels_of_the_bundle_are_installed_without_a_network(kit: Kit) -> None:
    program = b"import os, subprocess, hmgreet; hmgreet.greet(); subprocess.run(['hmgreet']); print(sorted(os.environ))"
    files = {
        "main.py": program,
        "requirements.txt": b"# ours\nhmgreet==1.0\n",
        "wheels/hmgreet-1.0-py3-none-any.whl": wheel(),
    }
    job = kit.job(bundle=files)
    _, ended = kit.run(job)
    assert ended.cause is Cause.OK, kit.live(job, Stream.STDERR)
    first, second, names = kit.live(job).splitlines()
    assert (first, second) == (b"greetings", b"greetings")
    assert b"PIP_" not in names
    assert b"HIVEMIND_OFFLINE" not in names


def test_a_file_of_comments_installs_nothing_and_needs_no_shell(kit: Kit) -> None:
    job = kit.job("/busybox", "echo", "ran", image=STATIC, bundle={"requirements.txt": b"# nothing\n\n"})
    _, ended = kit.run(job)
    assert ended.cause is Cause.OK
    assert kit.live(job) == b"ran\n"
