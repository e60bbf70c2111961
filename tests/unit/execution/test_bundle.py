"""Bundles: what is refused, how the refusal reads, and that nothing is left behind."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from hivemind_worker.domain.errors import BundleRefused, DiskExhausted
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.domain.resources import MIB
from hivemind_worker.execution.bundle import BundleLimits, extract_bundle, inspect_bundle
from hivemind_worker.trees import remove_tree
from tests import zips
from tests.zips import Entry

LIMITS = BundleLimits(max_bytes=8 * MIB, max_unpacked_bytes=128 * MIB, max_entries=50)
OK = Entry("main.py", b"print(1)\n")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tmp_path / "bundle.zip"


def refusal(path: Path, limits: BundleLimits = LIMITS) -> str:
    """The one message with which both the check and the unpacking refuse it, leaving nothing."""
    target = path.parent / "out"
    with pytest.raises(BundleRefused) as checked:
        inspect_bundle(path, limits)
    with pytest.raises(BundleRefused) as unpacked:
        extract_bundle(path, target, limits)
    assert not target.exists()
    assert str(checked.value) == str(unpacked.value)
    assert checked.value.cause is Cause.BUNDLE
    return str(checked.value)


# --- what is no zip, or only a part of one ------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8b" + b"x" * 100, b"PK"[:1] * 5000])
def test_what_is_not_a_zip_is_refused(bundle: Path, content: bytes) -> None:
    bundle.write_bytes(content)
    assert refusal(bundle) == "the bundle is not a zip"


@pytest.mark.parametrize("keep", [40, 60, 100, -1, -22])
def test_a_truncated_zip_is_refused(bundle: Path, keep: int) -> None:
    bundle.write_bytes(zips.build([OK])[:keep])
    assert "cut off" in refusal(bundle)


def test_every_truncation_of_a_zip_is_refused(tmp_path: Path) -> None:
    whole = zips.build([OK, Entry("a/b.txt", b"text" * 30, method=8)], comment=b"hi")
    for length in range(len(whole)):
        path = tmp_path / "t.zip"
        path.write_bytes(whole[:length])
        refusal(path)


def test_an_empty_zip_is_refused(bundle: Path) -> None:
    assert "is empty" in refusal(zips.write(bundle))


def test_a_zip_of_directories_only_is_refused(bundle: Path) -> None:
    assert "holds no file" in refusal(zips.write(bundle, Entry("a/", mode=stat.S_IFDIR | 0o755)))


def test_a_part_of_a_split_zip_is_refused(bundle: Path) -> None:
    assert "split over several files" in refusal(zips.write(bundle, OK, disk=1))


def test_a_directory_that_does_not_lie_where_the_end_says_is_refused(bundle: Path) -> None:
    assert "does not lie where its end says" in refusal(zips.write(bundle, OK, shift=1))


# --- counts and sizes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["plain", "zip64"])
def test_a_million_declared_entries_are_refused_before_any_is_parsed(bundle: Path, form: str) -> None:
    if form == "zip64":
        bundle.write_bytes(zips.zip64([OK], count=1_000_000))
        assert "declares 1000000 entries, more than 50" in refusal(bundle)
    else:
        bundle.write_bytes(zips.build([OK], count=60_000))
        assert "declares 60000 entries, more than 50" in refusal(bundle)


@pytest.mark.parametrize("count", [1, 3])
def test_a_directory_with_another_number_of_entries_than_declared_is_refused(bundle: Path, count: int) -> None:
    message = refusal(zips.write(bundle, OK, Entry("b", b"b"), count=count))
    assert "entries" in message


def test_a_zip_larger_than_the_limit_is_refused(bundle: Path) -> None:
    zips.write(bundle, Entry("big", b"x" * 2000))
    assert "more than 1000 bytes" in refusal(bundle, BundleLimits(1000, 1000, 10))


def test_files_that_together_pass_the_limit_are_refused_at_the_one_that_passes_it(bundle: Path) -> None:
    zips.write(bundle, Entry("a", b"x" * 600), Entry("b", b"x" * 600))
    assert "'b': the bundle unpacks to more than 1000 bytes" in refusal(bundle, BundleLimits(MIB, 1000, 10))


def test_a_bomb_of_zeros_is_refused(bundle: Path) -> None:
    zips.write(bundle, Entry("zeros", bytes(100 * MIB), method=8))
    assert "a zip bomb" in refusal(bundle)


def test_a_claim_that_deflate_cannot_meet_is_refused(bundle: Path) -> None:
    zips.write(bundle, Entry("tiny", b"x", method=8, size=60 * MIB))
    assert "which deflate cannot do" in refusal(bundle)


def test_entries_that_share_their_bytes_are_refused(bundle: Path) -> None:
    first, *copies = zips.overlapping(b"data" * 100, 5)
    named = [Entry("0", first.data, method=8, at=copy.at, local_name=b"0") for copy in copies]
    bundle.write_bytes(zips.build([first, *(Entry(f"{i}", b"data" * 100, method=8, at=0) for i in range(1, 5))]))
    assert "another name than the directory" in refusal(bundle)
    bundle.write_bytes(zips.build([first, *named]))
    assert "twice" in refusal(bundle)


def test_entries_nested_in_each_others_data_are_refused(bundle: Path) -> None:
    inner = Entry("inner", b"payload")
    outer = Entry("outer", inner.local())
    at = len(outer.local()) - len(inner.local())
    bundle.write_bytes(zips.build([outer, Entry("inner", b"payload", at=at)]))
    assert "'inner': shares its bytes with another entry" in refusal(bundle)


# --- entries ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../evil", "/abs", "C:/x", "a\\b", "a\0b", ".hivemind/x", "a/../../b"])
def test_a_forbidden_name_is_refused_and_named(bundle: Path, name: str) -> None:
    message = refusal(zips.write(bundle, OK, Entry(name, b"x")))
    assert f"entry {name!r}: " in message


def test_a_long_name_is_shortened_in_the_message(bundle: Path) -> None:
    message = refusal(zips.write(bundle, Entry("x" * 60_000, b"")))
    assert len(message) < 200
    assert "longer than 255 bytes" in message


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (stat.S_IFLNK, "a symbolic link"),
        (stat.S_IFCHR, "a character device"),
        (stat.S_IFBLK, "a block device"),
        (stat.S_IFIFO, "a FIFO"),
        (stat.S_IFSOCK, "a socket"),
    ],
)
def test_what_is_neither_file_nor_directory_is_refused(bundle: Path, kind: int, word: str) -> None:
    message = refusal(zips.write(bundle, OK, Entry("thing", b"/etc/passwd", mode=kind | 0o777)))
    assert message == f"the bundle's entry 'thing': is {word}; only files and directories are unpacked"


@pytest.mark.parametrize(("name", "kind"), [("a/", stat.S_IFREG), ("a", stat.S_IFDIR)])
def test_a_name_and_a_type_that_disagree_are_refused(bundle: Path, name: str, kind: int) -> None:
    assert "disagree" in refusal(zips.write(bundle, OK, Entry(name, mode=kind | 0o755)))


@pytest.mark.parametrize("flag", [0x1, 0x40, 0x2000])
def test_an_encrypted_entry_is_refused(bundle: Path, flag: int) -> None:
    assert "entry 'secret': is encrypted" in refusal(zips.write(bundle, OK, Entry("secret", b"x", flags=flag)))


@pytest.mark.parametrize("method", [1, 6, 9, 12, 14, 93, 99])
def test_another_compression_than_deflate_is_refused(bundle: Path, method: int) -> None:
    message = refusal(zips.write(bundle, OK, Entry("odd", b"x", method=method)))
    assert message.startswith("the bundle's entry 'odd': is ")
    assert "encrypted" in message if method == 99 else f"method {method}" in message


@pytest.mark.parametrize(
    ("raw", "shown"),
    [("übung\n\x1b".encode(), r"'übung\n\x1b'"), (b"caf\x82", "'café'"), (b"x" * 90, f"'{'x' * 80}'…")],
)
def test_a_name_in_a_refusal_is_text_and_harmless_whatever_its_bytes(bundle: Path, raw: bytes, shown: str) -> None:
    assert f"entry {shown}: is compressed" in refusal(zips.write(bundle, OK, Entry(raw, b"x", method=14)))


@pytest.mark.parametrize("pair", [("a", "a"), ("a", "./a"), ("a", "a/b"), ("d/a", "d/a/")])
def test_two_entries_for_one_path_are_refused(bundle: Path, pair: tuple[str, str]) -> None:
    entries = [Entry(name, mode=(stat.S_IFDIR if name.endswith("/") else stat.S_IFREG) | 0o755) for name in pair]
    assert "is there twice, or as a file and as a directory" in refusal(zips.write(bundle, *entries))


def test_a_local_header_with_another_name_is_refused(bundle: Path) -> None:
    message = refusal(zips.write(bundle, Entry("good", b"x", local_name=b"evil")))
    assert "another name than the directory" in message


def test_a_missing_zip64_field_is_refused(bundle: Path) -> None:
    assert "zip64 field" in refusal(zips.write(bundle, Entry("a", b"x", size=0xFFFFFFFF)))


def test_a_bundle_beyond_the_jobs_disk_stops_before_a_byte_is_written(bundle: Path, tmp_path: Path) -> None:
    zips.write(bundle, Entry("a", bytes(MIB)), Entry("b", bytes(2 * MIB)))
    with pytest.raises(DiskExhausted) as full:
        extract_bundle(bundle, tmp_path / "out", LIMITS, disk=MIB)
    assert str(full.value) == (
        "the bundle alone takes 3M (3145728 bytes), more than the job's disk of 1M (1048576 bytes)"
    )
    assert not (tmp_path / "out").exists()


# --- lies that only unpacking can see ---------------------------------------------------------------------


def lie(path: Path) -> str:
    """The refusal of a bundle whose directory is in order but whose content is not."""
    target = path.parent / "out"
    target.mkdir()
    (path.parent / "beside").write_text("stays")
    inspect_bundle(path, LIMITS)
    with pytest.raises(BundleRefused) as refused:
        extract_bundle(path, target, LIMITS)
    assert list(target.iterdir()) == []
    return str(refused.value)


def test_a_wrong_checksum_is_refused_and_what_was_unpacked_before_is_removed(bundle: Path) -> None:
    zips.write(bundle, Entry("a/b/first", b"fine"), Entry("z", b"x" * 100, crc=7))
    assert "'z': its content does not match its checksum" in lie(bundle)


def test_content_longer_than_declared_is_stopped_at_its_declared_size(bundle: Path) -> None:
    zips.write(bundle, Entry("a", b"x" * 5_000_000, method=8, size=1000))
    assert "more than the 1000 bytes it declares" in lie(bundle)


def test_content_shorter_than_declared_is_refused(bundle: Path) -> None:
    zips.write(bundle, Entry("a", b"x" * 1000, method=8, size=2000))
    assert "does not match" in lie(bundle)


def test_a_damaged_stream_is_refused(bundle: Path) -> None:
    data = bytearray(zips.build([Entry("a", bytes(range(256)) * 20, method=8)]))
    data[31 : 31 + 4] = b"\xff\xff\xff\xff"
    bundle.write_bytes(data)
    assert "damaged" in lie(bundle)


@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
@hypothesis_settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_byte_is_refused_or_harmless_but_never_a_crash(bundle: Path, position: int, value: int) -> None:
    data = bytearray(zips.build([OK, Entry("d/x", b"ab" * 200, method=8), Entry("e/", mode=stat.S_IFDIR | 0o755)]))
    data[position % len(data)] = value
    bundle.write_bytes(data)
    target = bundle.parent / "out"
    try:
        extract_bundle(bundle, target, LIMITS)
    except BundleRefused:
        assert not target.exists()
    else:
        assert any(target.iterdir())
        assert remove_tree(target) is None


# --- what is right -----------------------------------------------------------------------------------------


def test_a_bundle_tells_what_it_holds(bundle: Path) -> None:
    zips.write(bundle, OK, Entry("data/in.csv", b"1,2\n", method=8), Entry("data/", mode=stat.S_IFDIR | 0o755))
    manifest = inspect_bundle(bundle, LIMITS)
    assert (manifest.files, manifest.unpacked_bytes, manifest.root_names) == (2, 13, ("main.py",))
    assert manifest.folders == ("data",)


def test_the_executable_bit_is_kept_and_setuid_setgid_and_sticky_are_dropped(bundle: Path, tmp_path: Path) -> None:
    zips.write(
        bundle,
        Entry("tool", b"#!/bin/sh\n", mode=stat.S_IFREG | 0o7755),
        Entry("data", b"x", mode=stat.S_IFREG | 0o6600),
        Entry("d/", mode=stat.S_IFDIR | 0o7700),
    )
    target = tmp_path / "out"
    extract_bundle(bundle, target, LIMITS)
    modes = {name: stat.S_IMODE((target / name).stat().st_mode) for name in ("tool", "data", "d")}
    assert modes == {"tool": 0o755, "data": 0o644, "d": 0o755}


def test_a_link_that_waits_in_the_target_is_not_followed(bundle: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    target = tmp_path / "out"
    target.mkdir()
    (target / "d").symlink_to(victim)
    zips.write(bundle, Entry("d/x", b"x"))
    with pytest.raises(BundleRefused, match="cannot be made here"):
        extract_bundle(bundle, target, LIMITS)
    assert list(victim.iterdir()) == []


def test_a_bundle_with_a_comment_and_empty_deflated_files_is_unpacked(bundle: Path, tmp_path: Path) -> None:
    bundle.write_bytes(zips.build([OK, Entry("empty", b"", method=8, packed=0)], comment=b"PK\5\6 made by hand"))
    # packed=0 is claimed, the two bytes of an empty stream lie there all the same
    extract_bundle(bundle, tmp_path / "out", LIMITS)
    assert (tmp_path / "out" / "empty").read_bytes() == b""


def test_a_file_may_lie_in_a_directory_that_is_named_after_it(bundle: Path, tmp_path: Path) -> None:
    zips.write(bundle, Entry("a/b/c", b"1"), Entry("a/b/", mode=stat.S_IFDIR | 0o755), Entry("a-b", b"2"))
    extract_bundle(bundle, tmp_path / "out", LIMITS)
    assert (tmp_path / "out/a/b/c").read_bytes() == b"1"


names = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/\\:"), min_size=1, max_size=20
).filter(lambda name: name not in (".", "..", ".hivemind"))


@given(
    files=st.dictionaries(
        st.lists(names, min_size=1, max_size=3).map(tuple), st.binary(max_size=3000), min_size=1, max_size=12
    ),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
)
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_pythons_own_zipfile_writes_comes_out_byte_for_byte(
    bundle: Path, files: dict[tuple[str, ...], bytes], method: int
) -> None:
    kept = {path: data for path, data in files.items() if not any(path[:end] in files for end in range(1, len(path)))}
    with zipfile.ZipFile(bundle, "w", method) as archive:
        for path, data in kept.items():
            archive.writestr("/".join(path), data)
    target = bundle.parent / "out"
    extract_bundle(bundle, target, LIMITS)
    try:
        assert {path: (target.joinpath(*path)).read_bytes() for path in kept} == kept
        assert inspect_bundle(bundle, LIMITS).unpacked_bytes == sum(map(len, kept.values()))
    finally:
        assert remove_tree(target) is None


def test_a_bundle_that_was_written_to_a_pipe_is_unpacked(bundle: Path, tmp_path: Path) -> None:
    """Its sizes stand behind the data, not in front of it."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.written = b""

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.written += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", "text " * 100)
        archive.writestr("b.txt", "more")
    bundle.write_bytes(pipe.written)
    extract_bundle(bundle, tmp_path / "out", LIMITS)
    assert (tmp_path / "out/a.txt").read_text() == "text " * 100
    assert (tmp_path / "out/b.txt").read_text() == "more"


def test_a_zip64_bundle_is_unpacked(bundle: Path, tmp_path: Path) -> None:
    bundle.write_bytes(zips.zip64([OK], count=1))
    extract_bundle(bundle, tmp_path / "out", LIMITS)
    assert (tmp_path / "out/main.py").read_bytes() == OK.data


def test_sizes_in_a_zip64_field_are_read(bundle: Path, tmp_path: Path) -> None:
    field = struct.pack("<2HQQ", 1, 16, 5, 5)
    zips.write(bundle, Entry("a", b"hello", crc=zlib.crc32(b"hello"), size=0xFFFFFFFF, packed=0xFFFFFFFF, extra=field))
    extract_bundle(bundle, tmp_path / "out", LIMITS)
    assert (tmp_path / "out/a").read_bytes() == b"hello"
