"""The campaign in namespaces of its own: processes, mounts and loopback, so that nothing of it outlives it.

The first process of the namespace only starts the campaign and buries orphans; when it ends, the kernel ends the rest.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
ROOT_SIZE = "4G"


def main() -> int:
    """`python -m tests.chaos.inside ROOT ARGUMENTS…`: exit code of the campaign."""
    root = Path(sys.argv[1])
    _loopback_up()
    _mount("tmpfs", root, f"size={ROOT_SIZE},mode=755")
    # A containerd of the machine's would be found there, and the shims' sockets of ours are to go with us.
    if Path("/run/containerd").is_dir():
        _mount("tmpfs", Path("/run/containerd"), "size=16M,mode=711")
    child = subprocess.Popen([sys.executable, "-m", "tests.chaos.campaign", *sys.argv[1:]])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: child.send_signal(number))
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            child.returncode = 0
            return os.waitstatus_to_exitcode(status)


def _mount(kind: str, place: Path, options: str) -> None:
    subprocess.run(["mount", "-t", kind, "-o", options, kind, str(place)], check=True)


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


if __name__ == "__main__":
    code = main()
    os._exit(code if code >= 0 else 128 - code)
