"""Where settings are written: environment, secrets directory, hivemind.toml; each value with the name it was given."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from hivemind_worker.domain.errors import SettingsError

PREFIX = "HIVEMIND_"
#: names under our prefix that are not settings of the node: the CLI's, and where the settings themselves lie
OTHER_NAMES = frozenset({"HIVEMIND_BRIDGE", "HIVEMIND_TOKEN", "HIVEMIND_CONFIG", "HIVEMIND_SECRETS_DIR"})
#: names that HiveMind nodes, and Docker's own tools, already use; HIVEMIND_<setting> goes before them
PLAIN_NAMES: Mapping[str, str] = {
    "NODE_ID": "node_id",
    "LOG_LEVEL": "log_level",
    "NODE_PORT": "bridge_port",
    "FLASK_PORT": "api_port",
    "MAX_CPU_CORES": "max_cpu_cores",
    "MAX_MEMORY_GB": "max_memory_gb",
    "MAX_CONCURRENT_TASKS": "max_concurrent_tasks",
    "DOCKER_ENABLED": "docker_enabled",
    "DOCKER_HOST": "docker_host",
    "DOCKER_NETWORK": "docker_network",
    "MASTER_ADDRESS": "master_address",
    "SESSION_TIMEOUT": "session_timeout",
    "TRUST_THRESHOLD": "trust_threshold",
    "RESOURCE_REPORT_INTERVAL": "resource_report_interval",
    "WIREGUARD_CONFIG_PATH": "wireguard_config_path",
}


@dataclass(frozen=True, slots=True)
class Written:
    """A value and the name under which its user wrote it."""

    value: Any
    name: str


class Source(PydanticBaseSettingsSource):
    """One place's values, for pydantic-settings to merge."""

    def __init__(self, settings_cls: type[BaseSettings], written: Mapping[str, Written]) -> None:
        super().__init__(settings_cls)
        self.written = written

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """What pydantic-settings asks for one field."""
        found = self.written.get(field_name)
        return (found.value if found else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        """Every value of this place."""
        return {field: found.value for field, found in self.written.items()}


def from_environment(env: Mapping[str, str], fields: Collection[str]) -> dict[str, Written]:
    """Settings among environment variables; an empty one counts as not set. Raises SettingsError."""
    found = {}
    for name in sorted(env):
        if name.upper().startswith(PREFIX):
            _check_name(name, fields, OTHER_NAMES)
    for plain, field in PLAIN_NAMES.items():
        if env.get(plain):
            found[field] = Written(env[plain], plain)
    for field in fields:
        if env.get(variable(field)):
            found[field] = Written(env[variable(field)], variable(field))
    return found


def from_secrets(folder: str | None, fields: Collection[str]) -> dict[str, Written]:
    """Settings among files of a directory, named like the variables. Others lie there too. Raises SettingsError."""
    if not folder:
        return {}
    if not Path(folder).is_dir():
        raise SettingsError(f"HIVEMIND_SECRETS_DIR: there is no directory {folder}")
    found = {}
    for path in sorted(Path(folder).iterdir()):
        name = path.name.upper()
        if not name.startswith(PREFIX) or not path.is_file():
            continue
        _check_name(name, fields, OTHER_NAMES)
        field = name.removeprefix(PREFIX).lower()
        try:
            value = path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path}: cannot be read: {error}") from None
        if field in fields and value:
            found[field] = Written(value, os.fspath(path))
    return found


def from_toml(path: Path | None, fields: Collection[str]) -> dict[str, Written]:
    """Settings of hivemind.toml. Raises SettingsError."""
    if path is None:
        return {}
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read: {error}") from None
    for key in document:
        if key not in fields:
            near = _nearest(key, fields)
            raise SettingsError(f"{path}: there is no setting {key}{_hint(near)}")
    return {key: Written(value, f"{key} in {path}") for key, value in document.items()}


def config_file(env: Mapping[str, str] | None = None) -> Path | None:
    """hivemind.toml: $HIVEMIND_CONFIG, else ./hivemind.toml, else /etc/hivemind/hivemind.toml, if there.

    Raises SettingsError when the variable names no file.
    """
    named = (os.environ if env is None else env).get("HIVEMIND_CONFIG")
    if named:
        if not Path(named).is_file():
            raise SettingsError(f"HIVEMIND_CONFIG: there is no file {named}")
        return Path(named)
    for candidate in (Path("hivemind.toml"), Path("/etc/hivemind/hivemind.toml")):
        if candidate.is_file():
            return candidate
    return None


def variable(field: str) -> str:
    """'node_id' → 'HIVEMIND_NODE_ID'."""
    return f"{PREFIX}{field.upper()}"


def _check_name(name: str, fields: Collection[str], others: Collection[str]) -> None:
    known = [*others, *(variable(field) for field in fields)]
    if name in known:
        return
    bare = [one.removeprefix(PREFIX) for one in known]  # the prefix would make every name look alike
    near = _nearest(name.upper().removeprefix(PREFIX), bare)
    raise SettingsError(f"{name}: there is no such setting{_hint([PREFIX + one for one in near])}")


def _nearest(name: str, known: Collection[str]) -> list[str]:
    """The one that begins so, else the one that looks most like it, if one does."""
    return sorted(one for one in known if name and one.startswith(name))[:1] or difflib.get_close_matches(
        name, known, n=1
    )


def _hint(near: list[str]) -> str:
    return f"; did you mean {near[0]}?" if near else "; config/hivemind.toml lists every setting"
