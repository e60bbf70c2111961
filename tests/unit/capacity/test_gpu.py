"""A machine without driver, library or device has zero GPUs, and that is no error."""

from __future__ import annotations

import pynvml
import pytest

from hivemind_worker.capacity import gpu


def test_without_a_driver_there_are_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", no_library)
    assert gpu.read_gpus() == ()
