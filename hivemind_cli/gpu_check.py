"""The check of `hivemind doctor` for devices: whether the driver sees them and tells that they are well."""

from __future__ import annotations

from hivemind_cli.findings import Finding
from hivemind_worker.capacity.gpu import FIRST_ROUND, GpuMonitor
from hivemind_worker.domain.devices import Reading
from hivemind_worker.domain.resources import format_size

#: devices and troubles that one line names
MOST = 8


def check_gpus() -> Finding:
    """What the driver says now, asked as a worker asks. A driver that hangs holds the check up for FIRST_ROUND."""
    monitor = GpuMonitor()
    answered = monitor.start()
    try:
        return finding(monitor.reading() if answered else None)
    finally:
        monitor.stop()


def finding(reading: Reading | None) -> Finding:
    """One reading as a finding; None: the driver did not answer in time. Pure."""
    remedy = "jobs that ask for devices wait; see what nvidia-smi and the kernel's log say"
    if reading is None:
        return Finding("gpu", "warn", f"the NVIDIA driver has not answered within {FIRST_ROUND:g} s", remedy)
    ill = [f"GPU {gpu.index} is out: {gpu.trouble}" for gpu in reading.gpus if gpu.trouble not in ("", reading.trouble)]
    if reading.trouble or ill:
        return Finding("gpu", "warn", "; ".join([*([reading.trouble] if reading.trouble else []), *ill][:MOST]), remedy)
    devices = [f"GPU {gpu.index} {gpu.name}, {format_size(gpu.lendable)} to lend" for gpu in reading.gpus]
    return Finding("gpu", "ok", "; ".join(devices[:MOST]) or "none here")
