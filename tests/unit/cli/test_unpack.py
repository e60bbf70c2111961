"""An artifact is unpacked into its directory and never anywhere else."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from hivemind_cli.errors import CliError
from hivemind_cli.unpack import unpack


def zipped(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("name", ["../out", "/etc/out", "a/../../out", "a//out", "./out", "a\\..\\out"])
def test_a_name_that_leads_outside_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    archive = zipped(tmp_path / "a.zip", ("fine.txt", b"x"), (zipfile.ZipInfo(name), b"x"))
    with pytest.raises(CliError, match="leads outside"):
        unpack(archive, tmp_path / "target")
    assert list((tmp_path / "target").iterdir()) == []


def test_a_link_in_the_zip_is_refused(tmp_path: Path) -> None:
    entry = zipfile.ZipInfo("link")
    entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(CliError, match="no file"):
        unpack(zipped(tmp_path / "a.zip", (entry, b"/etc/passwd")), tmp_path / "target")


def test_a_link_that_lies_in_the_target_already_is_not_followed(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (target / "folder").symlink_to(outside)
    with pytest.raises(CliError, match="in the way"):
        unpack(zipped(tmp_path / "a.zip", ("folder/x", b"x")), target)
    assert list(outside.iterdir()) == []


def test_a_file_that_is_a_link_is_replaced_not_written_through(tmp_path: Path) -> None:
    target, outside = tmp_path / "target", tmp_path / "outside.txt"
    target.mkdir()
    outside.write_text("mine")
    (target / "x").symlink_to(outside)
    unpack(zipped(tmp_path / "a.zip", ("x", b"theirs")), target)
    assert outside.read_text() == "mine"
    assert not (target / "x").is_symlink()
    assert (target / "x").read_text() == "theirs"


def test_a_damaged_zip_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(CliError, match="damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "target")


def test_files_and_empty_directories_arrive_over_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "result.txt").write_text("old")
    entry = zipfile.ZipInfo("bin/run")
    entry.create_system, entry.external_attr = 3, (stat.S_IFREG | 0o755) << 16
    archive = zipped(tmp_path / "a.zip", ("result.txt", b"new"), ("empty/", b""), (entry, b"#!/bin/sh\n"))
    assert unpack(archive, target) == ["result.txt", "bin/run"]
    assert (target / "result.txt").read_text() == "new"
    assert (target / "empty").is_dir()
    assert (target / "bin" / "run").stat().st_mode & 0o111
