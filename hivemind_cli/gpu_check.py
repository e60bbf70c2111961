"""The check of `hivemind doctor` for devices: whether the driver sees them and tells that they are well."""

from __future__ import annotations

from hivemind_cli.findings import Finding
from hivemind_worker.capacity.gpu import FIRST_ROUND, GpuMonitor
from hivemind_worker.domain.devices import Reading
from hivemind_worker.domain.resources import format_size
from hivemind_worker.execution.device_refusals import DeviceRefusals
from hivemind_worker.execution.engine import Engine
from hivemind_worker.settings import Settings

#: devices and troubles that one line names
MOST = 8


def check_gpus(settings: Settings) -> Finding:
    """What the driver says now, asked as a worker asks. A driver that hangs holds the check up for FIRST_ROUND."""
    monitor = GpuMonitor()
    answered = monitor.start()
    try:
        reading = monitor.reading() if answered else None
    finally:
        monitor.stop()
    refused = ""
    if reading is not None and reading.gpus and settings.docker_enabled:
        refused = DeviceRefusals(Engine(settings), settings.state).trouble()
    return finding(reading, refused)


def finding(reading: Reading | None, refused: str = "") -> Finding:
    """One reading as a finding; None: the driver did not answer in time. `refused`: why the engine gives none. Pure."""
    remedy = "jobs that ask for devices wait; see what nvidia-smi and the kernel's log say"
    if reading is None:
        return Finding("gpu", "warn", f"the NVIDIA driver has not answered within {FIRST_ROUND:g} s", remedy)
    ill = [f"GPU {gpu.index} is out: {gpu.trouble}" for gpu in reading.gpus if gpu.trouble not in ("", reading.trouble)]
    if reading.trouble or ill:
        return Finding("gpu", "warn", "; ".join([*([reading.trouble] if reading.trouble else []), *ill][:MOST]), remedy)
    if refused:
        why, _, how = refused.rpartition("; ")
        return Finding("gpu", "warn", why, f"jobs that ask for devices wait; {how}")
    devices = [f"GPU {gpu.index} {gpu.name}, {format_size(gpu.lendable)} to lend" for gpu in reading.gpus]
    return Finding("gpu", "ok", "; ".join(devices[:MOST]) or "none here")
