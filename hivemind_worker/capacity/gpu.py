"""Devices through NVML. No driver, no library, no device: zero GPUs and no error."""

from __future__ import annotations

import structlog

from hivemind_worker.domain.node import Gpu

log = structlog.get_logger()


def read_gpus() -> tuple[Gpu, ...]:
    """The node's devices, by index; memory in bytes."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        return tuple(_device(index) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError as error:
        log.warning("gpus cannot be read", error=str(error))
        return ()
    finally:
        pynvml.nvmlShutdown()


def _device(index: int) -> Gpu:
    import pynvml

    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    name, uuid = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle)
    return Gpu(
        uuid=uuid.decode() if isinstance(uuid, bytes) else uuid,
        name=name.decode() if isinstance(name, bytes) else name,
        memory=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
    )
