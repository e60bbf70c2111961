"""Every setting of a node: read once, frozen, each with its default and unit.

Order of precedence: environment, then secrets directory, then hivemind.toml, then the default.
config/hivemind.toml gives the reason for each default; a test keeps the two in step.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, InitSettingsSource, SettingsConfigDict

from hivemind_worker.domain.assignment import IMAGE
from hivemind_worker.domain.errors import SettingsError
from hivemind_worker.domain.limits import parse_weights
from hivemind_worker.domain.resources import (
    GIB,
    MAX_BYTES,
    MAX_CPU,
    MAX_PIDS,
    MAX_TIMEOUT,
    MIB,
    MIN_MEMORY,
    parse_duration,
    parse_size,
)
from hivemind_worker.domain.units import mistaken_unit
from hivemind_worker.settings_sources import (
    PREFIX,
    Source,
    Written,
    config_file,
    from_environment,
    from_secrets,
    from_toml,
    variable,
)

__all__ = ["Settings", "config_file", "is_loopback", "load_settings"]

Port = Annotated[int, Field(ge=0, le=65535)]
Bytes = Annotated[int, Field(ge=0, le=MAX_BYTES)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")


def _default_state() -> Path:
    if os.geteuid() == 0:
        return Path("/var/lib/hivemind")
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "hivemind"


class Settings(BaseSettings):
    """One node's settings. Sizes in bytes (K M G accepted), times in seconds (s m h accepted)."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=True)

    # --- the node -------------------------------------------------------------------------------
    node_id: str = Field(default_factory=socket.gethostname)
    state: Path = Field(default_factory=_default_state)
    namespace: str = Field(default="hivemind", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    redis_url: SecretStr | None = None
    durability: Literal["everysec", "always"] = "always"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    # --- doors ----------------------------------------------------------------------------------
    bridge_host: str = "127.0.0.1"
    bridge_port: Port = 50053
    bridge_insecure: bool = False
    api_host: str = "127.0.0.1"
    api_port: Port = 5000
    api_insecure: bool = False
    flower_host: str = "127.0.0.1"
    flower_port: Port = 5555
    flower_insecure: bool = False
    flower_enabled: bool = True

    # --- caps -----------------------------------------------------------------------------------
    max_cpu_cores: Annotated[Number, Field(gt=0)] | None = None
    max_memory_gb: Annotated[Number, Field(gt=0, le=1024 * 1024)] | None = None
    max_gpus: Annotated[int, Field(ge=0, le=1024)] | None = None
    max_concurrent_tasks: Annotated[int, Field(ge=1, le=1024)] = 32
    reserve_cpu: Annotated[Number, Field(ge=0)] = 0.0
    reserve_memory: Bytes | None = None
    reserve_disk: Bytes = 1 * GIB
    reserve_pids: Annotated[int, Field(ge=0, le=MAX_PIDS)] = 1024

    cpu_overcommit_max: Annotated[Number, Field(ge=1, le=8)] = 1.0
    cpu_reclaim_max: Annotated[Number, Field(ge=1, le=8)] = 2.0
    memory_overcommit: Annotated[Number, Field(ge=1, le=4)] = 1.0

    # --- limits: what the line and each owner may have ---------------------------------------------
    max_waiting: Annotated[int, Field(ge=1)] = 100_000
    max_waiting_per_owner: Annotated[int, Field(ge=1)] | None = None
    max_running_per_owner: Annotated[int, Field(ge=1)] | None = None
    owner_rate: Annotated[Number, Field(ge=0.001, le=1_000_000)] | None = None
    owner_burst: Annotated[int, Field(ge=1, le=1_000_000)] = 100

    # --- admission ------------------------------------------------------------------------------
    ageing: Seconds = 600.0
    weights: Mapping[str, Number] = Field(default_factory=dict)
    share_half_life: Annotated[Seconds, Field(ge=60, le=365 * 86400)] = 86400.0
    beat: Annotated[Number, Field(gt=0, le=60)] = 2.0
    heartbeat_timeout: Seconds = 10.0
    node_lost_after: Seconds = 60.0
    on_partition: Literal["keep", "stop"] = "keep"
    infrastructure_retries: Annotated[int, Field(ge=0, le=100)] = 3
    infrastructure_backoff: Seconds = 5.0
    poison_after: Annotated[int, Field(ge=1, le=100)] = 3

    # --- what a job gets when it does not say: within what a request may be, or every such job fails ---
    default_image: str = "localhost/hivemind-base:latest"
    default_cpu: Annotated[Number, Field(ge=0.01, le=MAX_CPU)] = 1.0
    default_memory: Annotated[Bytes, Field(ge=MIN_MEMORY)] = 256 * MIB
    default_disk: Annotated[Bytes, Field(ge=MIB)] = 1 * GIB
    default_pids: Annotated[int, Field(ge=1, le=MAX_PIDS)] = 256
    default_timeout: Annotated[Number, Field(gt=0, le=MAX_TIMEOUT)] = 3600.0
    default_priority: Annotated[int, Field(ge=0, le=9)] = 5
    default_network: Literal["none", "internet"] = "none"

    # --- the container engine ---------------------------------------------------------------------
    docker_enabled: bool = True
    docker_host: str | None = None
    docker_network: str = "bridge"
    pull: Literal["missing", "always", "never"] = "missing"
    pull_timeout: Seconds = 1800.0
    read_only_rootfs: bool = True
    tmp_size: Bytes = 64 * MIB
    stop_grace: Seconds = 10.0
    job_overhead: Annotated[Seconds, Field(ge=0.1, le=600)] = 5.0
    job_uid: Annotated[int, Field(ge=1, le=2**31)] = 64646

    # --- bounds on what a job may bring and leave ----------------------------------------------------
    max_bundle_bytes: Bytes = 500 * 1000 * 1000
    max_bundle_unpacked_bytes: Bytes = 4 * GIB
    max_bundle_entries: Annotated[int, Field(ge=1)] = 20_000
    max_artifact_bytes: Bytes = 2 * GIB
    max_artifact_entries: Annotated[int, Field(ge=1)] = 20_000
    max_log_bytes: Annotated[Bytes, Field(ge=64 * 1024)] = 8 * MIB
    log_tail_bytes: Bytes = 1 * MIB
    keep_failed_workspace: Seconds = 0.0
    retention: Annotated[Seconds, Field(ge=60)] = 7 * 86400.0

    # --- the history: ended jobs that Redis has let go of ----------------------------------------------
    history_url: SecretStr | None = None
    history_retention: Seconds = 365 * 86400.0
    history_patience: Seconds = 30 * 86400.0

    # --- the master's side, used once this node joins one ---------------------------------------------
    master_address: str | None = None
    session_timeout: Seconds = 3600.0
    trust_threshold: Number = 0.0
    resource_report_interval: Annotated[Number, Field(gt=0)] = 30.0
    wireguard_config_path: Path | None = None

    @field_validator(
        "reserve_memory", "reserve_disk", "default_memory", "default_disk", "tmp_size", "max_bundle_bytes",
        "max_bundle_unpacked_bytes", "max_artifact_bytes", "max_log_bytes", "log_tail_bytes", mode="before",
    )  # fmt: skip
    @classmethod
    def _size(cls, value: Any) -> Any:
        return parse_size(value) if isinstance(value, str) else value

    @field_validator("reserve_memory", "reserve_disk")
    @classmethod
    def _reserve(cls, value: int | None) -> int | None:
        if value is not None and 0 < value < MIB:
            hint = mistaken_unit(value, MIB, MAX_BYTES)
            raise ValueError(f"is in bytes and must be 0 or at least 1M ({MIB}), not {value}{hint}; write {value}M")
        return value

    @field_validator(
        "ageing", "share_half_life", "beat", "heartbeat_timeout", "node_lost_after", "infrastructure_backoff",
        "default_timeout", "pull_timeout", "stop_grace", "job_overhead", "keep_failed_workspace", "retention",
        "history_retention", "history_patience", "session_timeout", "resource_report_interval", mode="before",
    )  # fmt: skip
    @classmethod
    def _time(cls, value: Any) -> Any:
        return parse_duration(value) if isinstance(value, str) else value

    @field_validator("weights", mode="before")
    @classmethod
    def _weights(cls, value: Any) -> Any:
        return parse_weights(value) if isinstance(value, str) else value

    @field_validator("weights")
    @classmethod
    def _weights_in_range(cls, value: Mapping[str, float]) -> Mapping[str, float]:
        for owner, weight in value.items():
            if not owner or not owner.isprintable() or len(owner) > 128:
                raise ValueError(f"an owner has 1 to {128} printable characters, not {owner!r}")
            if not 0.001 <= weight <= 1_000_000:
                raise ValueError(f"the weight of {owner!r} must be between 0.001 and 1000000, not {weight:g}")
        return value

    @field_validator("node_id")
    @classmethod
    def _node_id(cls, value: str) -> str:
        if not value or len(value) > 64 or not all(c.isascii() and (c.isalnum() or c in "_.-") for c in value):
            raise ValueError("must be 1 to 64 of the characters A-Z a-z 0-9 _ . -")
        return value

    @field_validator("state")
    @classmethod
    def _state(cls, value: Path) -> Path:
        try:
            return Path(os.path.abspath(value.expanduser()))  # noqa: PTH100 - resolve() would follow links
        except RuntimeError as error:  # '~somebody'
            raise ValueError(str(error)) from None

    @field_validator("log_level", mode="before")
    @classmethod
    def _level(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(REDIS_SCHEMES):
            raise ValueError(f"must start with {', '.join(REDIS_SCHEMES)}")
        return value

    @field_validator("history_url")
    @classmethod
    def _history_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        scheme, _, rest = value.get_secret_value().partition("://")
        right = scheme == "sqlite" and rest.startswith("//") and bool(rest.strip("/"))
        if scheme in ("postgres", "postgresql"):
            try:
                where = urlsplit(value.get_secret_value())
                right = bool(where.path.strip("/")) and (where.port is None or where.port > 0)
            except ValueError:
                right = False
        if not right or not value.get_secret_value().isprintable():
            raise ValueError("must be sqlite:////absolute/path or postgresql://user@host/database")
        if scheme != "sqlite" and find_spec("psycopg") is None:
            raise ValueError("PostgreSQL needs the package psycopg: pip install 'hivemind[postgres]'")
        return value

    @field_validator("default_image")
    @classmethod
    def _image(cls, value: str) -> str:
        if not IMAGE.fullmatch(value):
            raise ValueError("is not an image reference such as python:3.11-slim")
        return value

    @field_validator("master_address")
    @classmethod
    def _master(cls, value: str | None) -> str | None:
        """host:port, an IPv6 host in brackets."""
        if value is not None:
            try:
                where = urlsplit(f"//{value}")
                complete = bool(where.hostname and where.port) and where.netloc == value
            except ValueError:
                complete = False
            if not complete:
                raise ValueError("must be host:port, as in master.example:50051")
        return value

    @model_validator(mode="after")
    def _doors(self) -> Settings:
        for door in ("bridge", "api", "flower"):
            host, insecure = getattr(self, f"{door}_host"), getattr(self, f"{door}_insecure")
            if not is_loopback(host) and not insecure:
                raise ValueError(
                    f"{variable(door)}_HOST={host} is not loopback and nothing authenticates callers yet; "
                    f"set {variable(door)}_INSECURE=1 if a network of your own shields it"
                )
        return self

    @model_validator(mode="after")
    def _pulse(self) -> Settings:
        if self.heartbeat_timeout <= self.beat:
            raise ValueError(
                f"{PREFIX}HEARTBEAT_TIMEOUT={self.heartbeat_timeout:g} is not longer than "
                f"{PREFIX}BEAT={self.beat:g}: the node would count as down between two of its heartbeats"
            )
        if self.node_lost_after <= self.heartbeat_timeout:
            raise ValueError(
                f"{PREFIX}NODE_LOST_AFTER={self.node_lost_after:g} is not longer than "
                f"{PREFIX}HEARTBEAT_TIMEOUT={self.heartbeat_timeout:g}: a node would be lost before it counts as down"
            )
        least = self.stop_grace + 5 * self.beat
        if self.on_partition == "stop" and self.node_lost_after < least:
            raise ValueError(
                f"{PREFIX}NODE_LOST_AFTER={self.node_lost_after:g} leaves no time to stop containers before their jobs "
                f"go elsewhere ({PREFIX}ON_PARTITION=stop); with {PREFIX}STOP_GRACE={self.stop_grace:g} and "
                f"{PREFIX}BEAT={self.beat:g} at least {least:g}"
            )
        return self

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
    def history(self) -> str:
        """The history's URL: the given one, else a file of SQLite's below `state`; '' when none is kept."""
        if not self.history_retention:
            return ""
        if self.history_url is None:
            return f"sqlite:///{self.state / 'history' / 'history.db'}"
        return self.history_url.get_secret_value()

    @property
    def ending_allowance(self) -> float:
        """Seconds beyond its timeout for which a job may be held: it ends with SIGTERM and a grace."""
        return self.stop_grace + self.job_overhead

    @property
    def celery_broker(self) -> str:
        """The same server in kombu's spelling."""
        if self.redis_url is not None:
            url = urlsplit(self.redis_url.get_secret_value())
            if url.scheme != "unix":
                return url.geturl()
            query = [("virtual_host" if name == "db" else name, value) for name, value in parse_qsl(url.query)]
            return f"redis+socket://{url.netloc}{url.path}" + (f"?{urlencode(query)}" if query else "")
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


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read and check everything: overrides, then environment, secrets directory, hivemind.toml, defaults.

    Raises SettingsError with one line that names the culprit as its user wrote it.
    """
    env = os.environ if environ is None else environ
    fields = Settings.model_fields.keys()
    written = [
        from_environment(env, fields),
        from_secrets(env.get("HIVEMIND_SECRETS_DIR"), fields),
        from_toml(config_file(env), fields),
    ]
    sources = (InitSettingsSource(Settings, overrides), *(Source(Settings, place) for place in written))
    try:
        return Settings(_build_sources=(sources, {}))
    except ValidationError as error:
        places = [{field: Written(value, field) for field, value in overrides.items()}, *written]
        raise SettingsError(" ".join(_complaint(error, places).splitlines())) from None


def _complaint(error: ValidationError, places: list[dict[str, Written]]) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    if not first["loc"]:
        return message  # of several settings together: it names them itself
    field = str(first["loc"][0])
    name = next((place[field].name for place in places if field in place), variable(field))
    if first["type"] == "extra_forbidden":
        return f"{name}: there is no such setting; config/hivemind.toml lists every setting"
    shown = repr(str(first["input"])[:80])
    secret = "SecretStr" in str(Settings.model_fields[field].annotation)
    return f"{name}: {message}" if secret or shown in message else f"{name}: {message} (got {shown})"
