"""Fixtures: a machine whose NVIDIA library is the stand-in, for this very process."""

from __future__ import annotations

import _ctypes
import ctypes
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from tests.gpu_standin import Machine, build


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def machine(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A machine with a driver and no devices yet. The linker finds a library by its name once it is loaded."""
    monkeypatch.setenv("NVML_STANDIN", str(tmp_path / "machine"))
    loaded = ctypes.CDLL(str(library))
    forget_library()
    yield Machine(tmp_path / "machine").write()
    forget_library()
    _ctypes.dlclose(loaded._handle)


def forget_library() -> None:
    """As if pynvml had never loaded one."""
    if pynvml.nvmlLib is not None:
        _ctypes.dlclose(pynvml.nvmlLib._handle)
    pynvml.nvmlLib = None
    pynvml._nvmlGetFunctionPointer_cache.clear()
