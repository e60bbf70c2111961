"""A directory becomes a bundle that is the same wherever and whenever it is made."""

from __future__ import annotations

import os
import socket
import zipfile
from pathlib import Path

import pytest

from hivemind_cli.bundle import packed
from hivemind_cli.errors import CliError


def program(folder: Path) -> Path:
    (folder / "data").mkdir(parents=True)
    (folder / "main.py").write_text("print('hello')\n" * 100)
    (folder / "data" / "noise.bin").write_bytes(os.urandom(200_000))
    (folder / "empty").mkdir()
    return folder


def test_a_symbolic_link_is_refused_and_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    source = program(tmp_path / "p")
    (source / "link").symlink_to("/etc/passwd")
    with pytest.raises(CliError, match="link is a symbolic link"), packed(source):
        pass
    assert list(scratch.iterdir()) == []


def test_a_socket_and_a_pipe_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    source = program(Path("p"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("p/s.sock")
        with pytest.raises(CliError, match="neither a file nor a directory"), packed(source):
            pass
    Path("p/s.sock").unlink()
    os.mkfifo("p/pipe")
    with pytest.raises(CliError, match="neither a file nor a directory"), packed(source):
        pass


def test_a_directory_without_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p" / "empty").mkdir(parents=True)
    with pytest.raises(CliError, match="holds no file"), packed(tmp_path / "p"):
        pass


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    source = program(tmp_path / "p")
    Path(os.fsdecode(os.fsencode(source) + b"/\xff.txt")).write_text("x")
    with pytest.raises(CliError, match="not UTF-8"), packed(source):
        pass


def test_the_same_files_give_the_same_bytes_whatever_their_times(tmp_path: Path) -> None:
    source = program(tmp_path / "p")
    with packed(source) as first:
        before = first.path.read_bytes()
    for path in source.rglob("*"):
        os.utime(path, (1, 1))
    with packed(source) as second:
        assert second.path.read_bytes() == before


def test_history_and_caches_stay_out_and_are_named(tmp_path: Path) -> None:
    source = program(tmp_path / "p")
    for name in (".git", "__pycache__", "data/__pycache__"):
        (source / name).mkdir()
        (source / name / "x").write_text("x")
    with packed(source) as bundle:
        assert sorted(bundle.left_out) == [".git", "__pycache__", "data/__pycache__"]
        names = zipfile.ZipFile(bundle.path).namelist()
    assert not any(".git" in name or "__pycache__" in name for name in names)


def test_every_file_is_there_with_its_bytes_and_its_right_to_run(tmp_path: Path) -> None:
    source = program(tmp_path / "p")
    (source / "run.sh").write_text("#!/bin/sh\n")
    (source / "run.sh").chmod(0o700)
    with packed(source) as bundle, zipfile.ZipFile(bundle.path) as archive:
        assert archive.namelist() == ["data/", "data/noise.bin", "empty/", "main.py", "run.sh"]
        assert archive.read("data/noise.bin") == (source / "data" / "noise.bin").read_bytes()
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in archive.infolist()}
        assert (modes["run.sh"], modes["main.py"]) == (0o755, 0o644)


def test_what_does_not_shrink_is_stored_and_what_does_is_deflated(tmp_path: Path) -> None:
    with packed(program(tmp_path / "p")) as bundle, zipfile.ZipFile(bundle.path) as archive:
        assert archive.getinfo("data/noise.bin").compress_type == zipfile.ZIP_STORED
        assert archive.getinfo("main.py").compress_type == zipfile.ZIP_DEFLATED


def test_a_zip_is_sent_as_it_is(tmp_path: Path) -> None:
    zipped = tmp_path / "x.zip"
    zipped.write_bytes(b"whatever")
    with packed(zipped) as bundle:
        assert bundle.path == zipped
    assert zipped.exists()
