"""The embedded Redis runs as config/redis.conf says."""

from __future__ import annotations

from pathlib import Path

from hivemind_cli.redis_server import OPTIONS, server_command

CONF = Path(__file__).parents[3] / "config" / "redis.conf"


def test_the_table_and_the_file_say_the_same() -> None:
    lines = (line.strip() for line in CONF.read_text("utf-8").splitlines())
    said = [line.partition(" ")[::2] for line in lines if line and not line.startswith("#")]
    assert sorted((name, value.strip().strip('"')) for name, value in said) == sorted(OPTIONS)


def test_without_a_port_only_the_socket_is_open_and_only_to_its_user() -> None:
    command = server_command(Path("/bin/x"), Path("/d"), socket=Path("/d/s"))
    assert command[command.index("--port") + 1] == "0"
    assert command[command.index("--unixsocketperm") + 1] == "700"
    assert "--bind" not in command
