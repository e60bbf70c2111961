"""Every setting of a node: read once, frozen, each with its default and unit.

Order of precedence: environment, then secrets directory, then hivemind.toml, then the default.
config/hivemind.toml gives the reason for each default; a test keeps the two in step.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from hivemind_worker.domain.errors import SettingsError
from hivemind_worker.domain.resources import GIB, MIB, parse_duration, parse_size

PREFIX = "HIVEMIND_"
#: names under our prefix that are not settings of the node: the CLI's, and where the settings themselves lie
OTHER_NAMES = frozenset({"HIVEMIND_BRIDGE", "HIVEMIND_TOKEN", "HIVEMIND_CONFIG", "HIVEMIND_SECRETS_DIR"})

Port = Annotated[int, Field(ge=0, le=65535)]
Bytes = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _named(name: str, *plain: str) -> Any:
    """An environment name of ours and the plain ones that HiveMind nodes already use."""
    return AliasChoices(name, f"{PREFIX}{name.upper()}", *plain)


def _default_state() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/hivemind")
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "hivemind"


class Settings(BaseSettings):
    """One node's settings. Sizes in bytes (K M G accepted), times in seconds (s m h accepted)."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        validate_default=True,
        env_ignore_empty=True,
    )

    # --- the node -------------------------------------------------------------------------------
    node_id: str = Field(default_factory=socket.gethostname, validation_alias=_named("node_id", "NODE_ID"))
    state: Path = Field(default_factory=_default_state)
    namespace: str = Field(default="hivemind", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    redis_url: SecretStr | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", validation_alias=_named("log_level", "LOG_LEVEL")
    )

    # --- doors ----------------------------------------------------------------------------------
    bridge_host: str = "127.0.0.1"
    bridge_port: Port = Field(default=50053, validation_alias=_named("bridge_port", "NODE_PORT"))
    bridge_insecure: bool = False
    api_host: str = "127.0.0.1"
    api_port: Port = Field(default=5000, validation_alias=_named("api_port", "FLASK_PORT"))
    api_insecure: bool = False
    flower_host: str = "127.0.0.1"
    flower_port: Port = 5555
    flower_enabled: bool = True

    # --- caps -----------------------------------------------------------------------------------
    max_cpu_cores: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, validation_alias=_named("max_cpu_cores", "MAX_CPU_CORES")
    )
    max_memory_gb: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = Field(
        default=None, validation_alias=_named("max_memory_gb", "MAX_MEMORY_GB")
    )
    max_concurrent_tasks: Annotated[int, Field(ge=1, le=1024)] = Field(
        default=32, validation_alias=_named("max_concurrent_tasks", "MAX_CONCURRENT_TASKS")
    )
    reserve_cpu: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    reserve_memory: Bytes = 512 * MIB
    reserve_disk: Bytes = 1 * GIB
    max_waiting: Annotated[int, Field(ge=1)] = 100_000

    # --- admission ------------------------------------------------------------------------------
    ageing: Seconds = 600.0
    patience: Seconds = 120.0
    beat: Annotated[float, Field(gt=0, le=60)] = 2.0
    heartbeat_timeout: Seconds = 10.0

    # --- what a job gets when it does not say ------------------------------------------------------
    default_image: str = "localhost/hivemind-base:latest"
    default_cpu: Annotated[float, Field(gt=0)] = 1.0
    default_memory: Bytes = 256 * MIB
    default_disk: Bytes = 1 * GIB
    default_pids: Annotated[int, Field(ge=1)] = 256
    default_timeout: Annotated[float, Field(gt=0)] = 3600.0
    default_priority: Annotated[int, Field(ge=0, le=9)] = 5
    default_network: Literal["none", "internet"] = "none"

    # --- the container engine ---------------------------------------------------------------------
    docker_enabled: bool = Field(default=True, validation_alias=_named("docker_enabled", "DOCKER_ENABLED"))
    docker_host: str | None = Field(default=None, validation_alias=_named("docker_host", "DOCKER_HOST"))
    docker_network: str = Field(default="bridge", validation_alias=_named("docker_network", "DOCKER_NETWORK"))
    pull: Literal["missing", "always", "never"] = "missing"
    pull_timeout: Seconds = 1800.0
    read_only_rootfs: bool = True
    tmp_size: Bytes = 64 * MIB
    stop_grace: Seconds = 10.0
    job_uid: Annotated[int, Field(ge=1, le=2**31)] = 64646

    # --- bounds on what a job may bring and leave ----------------------------------------------------
    max_bundle_bytes: Bytes = 500 * 1000 * 1000
    max_bundle_unpacked_bytes: Bytes = 4 * GIB
    max_bundle_entries: Annotated[int, Field(ge=1)] = 20_000
    max_artifact_bytes: Bytes = 2 * GIB
    max_artifact_entries: Annotated[int, Field(ge=1)] = 20_000
    max_log_bytes: Annotated[int, Field(ge=64 * 1024)] = 8 * MIB
    log_tail_bytes: Bytes = 1 * MIB
    keep_failed_workspace: Seconds = 0.0
    retention: Seconds = 7 * 86400.0

    # --- the master's side, used once this node joins one ---------------------------------------------
    master_address: str | None = Field(default=None, validation_alias=_named("master_address", "MASTER_ADDRESS"))
    session_timeout: Seconds = Field(default=3600.0, validation_alias=_named("session_timeout", "SESSION_TIMEOUT"))
    trust_threshold: Annotated[float, Field(allow_inf_nan=False)] = Field(
        default=0.0, validation_alias=_named("trust_threshold", "TRUST_THRESHOLD")
    )
    resource_report_interval: Annotated[float, Field(gt=0)] = Field(
        default=30.0, validation_alias=_named("resource_report_interval", "RESOURCE_REPORT_INTERVAL")
    )
    wireguard_config_path: Path | None = Field(
        default=None, validation_alias=_named("wireguard_config_path", "WIREGUARD_CONFIG_PATH")
    )

    @field_validator(
        "reserve_memory", "reserve_disk", "default_memory", "default_disk", "tmp_size", "max_bundle_bytes",
        "max_bundle_unpacked_bytes", "max_artifact_bytes", "max_log_bytes", "log_tail_bytes", mode="before",
    )  # fmt: skip
    @classmethod
    def _size(cls, value: Any) -> Any:
        return parse_size(value) if isinstance(value, str) else value

    @field_validator(
        "ageing", "patience", "beat", "heartbeat_timeout", "default_timeout", "pull_timeout", "stop_grace",
        "keep_failed_workspace", "retention", "session_timeout", "resource_report_interval", mode="before",
    )  # fmt: skip
    @classmethod
    def _time(cls, value: Any) -> Any:
        return parse_duration(value) if isinstance(value, str) else value

    @field_validator("node_id")
    @classmethod
    def _node_id(cls, value: str) -> str:
        if not value or len(value) > 64 or not all(c.isascii() and (c.isalnum() or c in "_.-") for c in value):
            raise ValueError("must be 1 to 64 of the characters A-Z a-z 0-9 _ . -")
        return value

    @field_validator("state")
    @classmethod
    def _state(cls, value: Path) -> Path:
        return Path(os.path.abspath(value.expanduser()))  # noqa: PTH100 - resolve() would follow links

    @field_validator("log_level", mode="before")
    @classmethod
    def _level(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _doors(self) -> Settings:
        for door in ("bridge", "api"):
            host, insecure = getattr(self, f"{door}_host"), getattr(self, f"{door}_insecure")
            if not is_loopback(host) and not insecure:
                raise ValueError(
                    f"{PREFIX}{door.upper()}_HOST={host} is not loopback and nothing authenticates callers yet; "
                    f"set {PREFIX}{door.upper()}_INSECURE=1 if a network of your own shields it"
                )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over secrets over hivemind.toml over defaults."""
        toml = TomlConfigSettingsSource(settings_cls, toml_file=config_file())
        return init_settings, env_settings, file_secret_settings, toml

    @property
    def redis(self) -> str:
        """The URL for redis-py: the given one, else the embedded server's socket."""
        if self.redis_url is not None:
            return self.redis_url.get_secret_value()
        return f"unix://{self.redis_socket}"

    @property
    def redis_socket(self) -> Path:
        """Where the embedded server listens. A Unix socket has 107 bytes of path, so a deep state moves it."""
        inside = self.state / "redis" / "redis.sock"
        if len(os.fsencode(inside)) <= 100:
            return inside
        import hashlib

        digest = hashlib.sha256(os.fsencode(self.state)).hexdigest()[:16]
        base = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"  # noqa: S108 - the directory is made 0700
        return Path(base) / f"hivemind-{os.geteuid()}-{digest}" / "redis.sock"

    @property
    def celery_broker(self) -> str:
        """The same server in kombu's spelling."""
        if self.redis_url is not None:
            url = self.redis_url.get_secret_value()
            if url.startswith("unix://"):
                return "redis+socket://" + url.removeprefix("unix://").replace("?db=", "?virtual_host=")
            return url
        return f"redis+socket://{self.redis_socket}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that binds to it."""
    import ipaddress

    if host == "localhost" or host.startswith("unix:"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def config_file() -> Path | None:
    """hivemind.toml: $HIVEMIND_CONFIG, else ./hivemind.toml, else /etc/hivemind/hivemind.toml, if there."""
    named = os.environ.get("HIVEMIND_CONFIG")
    if named:
        if not Path(named).is_file():
            raise SettingsError(f"HIVEMIND_CONFIG: there is no file {named}")
        return Path(named)
    for candidate in (Path("hivemind.toml"), Path("/etc/hivemind/hivemind.toml")):
        if candidate.is_file():
            return candidate
    return None


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read and check everything. Raises SettingsError with one line that names the culprit."""
    env = os.environ if environ is None else environ
    _refuse_unknown(env)
    secrets = env.get("HIVEMIND_SECRETS_DIR")
    if secrets and not Path(secrets).is_dir():
        raise SettingsError(f"HIVEMIND_SECRETS_DIR: there is no directory {secrets}")
    try:
        return Settings(_secrets_dir=secrets, **overrides)
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from None
    except ValueError as error:  # a toml file that does not parse
        raise SettingsError(f"{config_file() or 'settings'}: {error}") from None


def _refuse_unknown(env: Mapping[str, str]) -> None:
    known = OTHER_NAMES | {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    unknown = sorted(name for name in env if name.startswith(PREFIX) and name not in known)
    if unknown:
        import difflib

        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"; did you mean {near[0]}?" if near else "; config/hivemind.toml lists every setting"
        raise SettingsError(f"{unknown[0]}: there is no such setting{hint}")


def _one_line(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    name = str(first["loc"][0])
    field = name if name.isupper() else f"{PREFIX}{name.upper()}"
    if first["type"] == "extra_forbidden":
        return f"{field}: there is no such setting; config/hivemind.toml lists every setting"
    shown = "" if field.endswith("REDIS_URL") else f" (got {str(first['input'])[:80]!r})"
    return f"{field}: {message}{shown}"
