"""A bundle that was damaged on the node where no checksum of its zip tells is not run."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemind_worker.domain.errors import BundleLost
from hivemind_worker.domain.outcome import Cause

from .execution_kit import Kit


def test_damage_that_no_checksum_of_the_zip_covers_is_found_and_put_aside(kit: Kit) -> None:
    job = kit.job(bundle={"main.py": b"import os; print(os.listdir())", "numbers.csv": b"1,2,3"})
    digest = job.assignment.bundle_sha256
    kept = kit.stores.bundles.local_copy(digest, Path("unused"))
    kept.write_bytes(kept.read_bytes().replace(b"numbers.csv", b"numbers.csw"))
    with pytest.raises(BundleLost, match="is not what was sent, and was put aside") as lost:
        kit.run(job)
    assert lost.value.cause is Cause.INTERNAL
    assert not kit.stores.bundles.exists(digest)
    assert kit.leftovers() == []
