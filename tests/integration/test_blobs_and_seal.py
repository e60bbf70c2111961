"""Blobs are kept whole or not at all; secrets open only with the key they were sealed with."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from fsspec.implementations.memory import MemoryFileSystem

from hivemind_worker.domain.errors import BundleLost, HiveMindError, NotFound
from hivemind_worker.store.blobs import BlobStore
from hivemind_worker.store.seal import Sealer


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore((tmp_path / "kept").as_uri(), tmp_path / "staging")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_abandoned_blob_leaves_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    with blobs.writer() as writer:
        writer.write(b"half")
    assert files(tmp_path) == []


def test_a_blob_that_was_never_kept_is_not_found(blobs: BlobStore) -> None:
    for read in (blobs.open, blobs.size):
        with pytest.raises(NotFound):
            read("0" * 64)
    assert not blobs.exists("0" * 64)


def test_a_blob_is_found_under_its_digest_and_read_from_any_offset(blobs: BlobStore, tmp_path: Path) -> None:
    with blobs.writer() as writer:
        writer.write(b"hello ")
        writer.write(b"world")
        ref = writer.commit()
    assert (ref.sha256, ref.size) == (hashlib.sha256(b"hello world").hexdigest(), 11)
    assert b"".join(blobs.chunks(ref.sha256, offset=6, size=2)) == b"world"
    assert files(tmp_path / "staging") == []


@pytest.fixture(params=["here", "elsewhere"])
def kept(request: pytest.FixtureRequest, blobs: BlobStore, tmp_path: Path) -> Iterator[BlobStore]:
    """A store on this machine, and one that a copy must be fetched from."""
    if request.param == "here":
        yield blobs
        return
    yield BlobStore("memory://kept", tmp_path / "staging")
    MemoryFileSystem.store.clear()


def test_a_copy_on_this_machine_holds_what_was_kept(kept: BlobStore, tmp_path: Path) -> None:
    content = os.urandom(600_000)
    with kept.writer() as writer:
        writer.write(content)
        ref = writer.commit()
    assert kept.local_copy(ref.sha256, tmp_path / "copy").read_bytes() == content


def test_a_copy_of_what_is_not_kept_is_not_found_and_leaves_nothing(kept: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        kept.local_copy("0" * 64, tmp_path / "copy")
    assert files(tmp_path) == []


@pytest.mark.parametrize("damage", [b"hellp world", b"hello worl", b"hello world!", b""], ids=repr)
def test_a_blob_that_is_not_what_its_name_says_is_put_aside_before_anyone_uses_it(
    kept: BlobStore, tmp_path: Path, damage: bytes
) -> None:
    with kept.writer() as writer:
        writer.write(b"hello world")
        ref = writer.commit()
    with kept._fs.open(kept._path(ref.sha256), "wb") as file:
        file.write(damage)
    with pytest.raises(BundleLost, match="is not what was sent, and was put aside"):
        kept.local_copy(ref.sha256, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert not kept.exists(ref.sha256)
    assert kept._fs.cat_file(f"{kept._path(ref.sha256)}.damaged") == damage
    with pytest.raises(NotFound):
        kept.local_copy(ref.sha256, tmp_path / "copy")


def test_the_same_content_twice_is_one_blob(blobs: BlobStore, tmp_path: Path) -> None:
    for name in ("a", "b"):
        path = tmp_path / name
        path.write_bytes(b"same")
        blobs.add(path)
    assert len(files(tmp_path)) == 1


def test_the_sweep_takes_the_old_and_spares_what_is_in_use(blobs: BlobStore, tmp_path: Path) -> None:
    refs = []
    for content in (b"old", b"used", b"new"):
        with blobs.writer() as writer:
            writer.write(content)
            refs.append(writer.commit())
    for ref in refs[:2]:
        os.utime(tmp_path / "kept" / ref.sha256[:2] / ref.sha256, (0, 0))
    assert blobs.sweep(3600, lambda: frozenset({refs[1].sha256})) == 1
    assert [blobs.exists(ref.sha256) for ref in refs] == [False, True, True]


def test_the_key_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "secret.key"
    first, second = Sealer.from_file(path), Sealer.from_file(path)
    assert second.open(first.seal({"K": "ä"})) == {"K": "ä"}
    assert first.digest_key == second.digest_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert files(tmp_path) == [path]


def test_another_nodes_key_opens_nothing(tmp_path: Path) -> None:
    sealed = Sealer.from_file(tmp_path / "key").seal({"K": "v"})
    with pytest.raises(HiveMindError, match="another node's key"):
        Sealer(Fernet.generate_key()).open(sealed)


def test_a_leftover_directory_in_the_staging_area_is_swept_too(blobs: BlobStore, tmp_path: Path) -> None:
    leftover = tmp_path / "staging" / "tmpdead"
    (leftover / "work").mkdir(parents=True)
    os.utime(leftover, (0, 0))
    assert blobs.sweep(3600, frozenset) == 1
    assert not leftover.exists()


def test_processes_that_start_together_share_one_key(tmp_path: Path) -> None:
    for n in range(50):
        path = tmp_path / str(n) / "secret.key"
        with ThreadPoolExecutor(4) as pool:
            keys = {sealer.digest_key for sealer in pool.map(lambda _, at=path: Sealer.from_file(at), range(4))}
        assert len(keys) == 1
