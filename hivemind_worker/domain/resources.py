"""What a job asks for and what a node has: cores, bytes, devices, processes, slots."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from hivemind_worker.domain.units import GIB as GIB
from hivemind_worker.domain.units import KIB as KIB
from hivemind_worker.domain.units import MIB as MIB
from hivemind_worker.domain.units import TIB as TIB
from hivemind_worker.domain.units import bytes_of, check_bytes, check_cores, check_whole, mistaken_unit
from hivemind_worker.domain.units import parse_cores as parse_cores

_DURATION = re.compile(r"^(\d+(?:\.\d+)?)\s*(s|m|h|d)?$")
_SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
#: how Request.shape, and with it the name of a waiting line, begins; scripts/audit.lua says the same
SHAPE = re.compile(r"\d+(:\d+){5}(?![^:/])")

#: Docker refuses a container with less (daemon/daemon_unix.go: linuxMinMemory)
MIN_MEMORY = 6 * MIB
#: beyond any machine on sale: a number above it is a mistake of units
MAX_CPU = 4096.0
MAX_BYTES = 1024 * TIB
MAX_PIDS = 4_194_304  # PID_MAX_LIMIT of a 64-bit Linux
MAX_TIMEOUT = 30 * 86400.0


def parse_size(text: str) -> int:
    """'256M' → bytes; suffixes K M G T are powers of 1024. Raises ValueError with what would be right."""
    size = bytes_of(text)
    if size is None:
        raise ValueError(f"{text!r} is not a size; write a number with an optional K, M, G or T, as in 256M")
    if size > MAX_BYTES:
        raise ValueError(f"{text!r} is larger than any machine")
    return int(size)


def parse_duration(text: str) -> float:
    """'10m' → seconds; suffixes s m h d. Raises ValueError with what would be right."""
    match = _DURATION.match(text.strip().lower())
    if not match:
        raise ValueError(f"{text!r} is not a time; write a number with an optional s, m, h or d, as in 10m")
    return float(match[1]) * _SECONDS[match[2]]


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


Finite = Annotated[float, AfterValidator(_finite)]


class Request(BaseModel):
    """What one job asks for; the container's caps are the same numbers, but for cores, whose cap may be higher."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: Annotated[Finite, Field(description="cores")]
    memory: Annotated[int, Field(description="bytes")]
    gpus: Annotated[int, Field(ge=0, le=1024)] = 0
    gpu_memory: Annotated[int, Field(ge=0, le=MAX_BYTES, description="bytes on each device")] = 0
    disk: Annotated[int, Field(description="bytes in the workspace")]
    pids: Annotated[int, Field(ge=1, le=MAX_PIDS)]
    cpu_limit: Annotated[Finite | None, Field(description="cores at most; not given: as many as cpu")] = None
    reclaimable: Annotated[bool, Field(description="runs on cores that others leave idle, and may be slowed")] = False

    @field_validator("cpu", "cpu_limit", mode="before")
    @classmethod
    def _cores(cls, value: Any) -> Any:
        return None if value is None else check_cores(value)

    @field_validator("memory", "disk", "gpu_memory", mode="before")
    @classmethod
    def _bytes(cls, value: Any) -> Any:
        return check_bytes(value)

    @field_validator("gpus", "pids", mode="before")
    @classmethod
    def _whole(cls, value: Any, info: ValidationInfo) -> Any:
        return check_whole(value, {"gpus": "devices", "pids": "processes"}[str(info.field_name)])

    @field_validator("cpu")
    @classmethod
    def _cpu(cls, value: float) -> float:
        if not 0.01 <= value <= MAX_CPU:
            hint = f"; {value:g} thousandths are {value / 1000:g}" if value > MAX_CPU else ""
            raise ValueError(f"must be between 0.01 and {MAX_CPU:g} cores, not {value:g}{hint}")
        return round(value, 3)

    @field_validator("cpu_limit")
    @classmethod
    def _cpu_limit(cls, value: float | None, info: ValidationInfo) -> float | None:
        asked = info.data.get("cpu")
        if value is None or asked is None:
            return None
        if not asked <= value <= MAX_CPU:
            raise ValueError(f"must be between cpu, which is {asked:g}, and {MAX_CPU:g} cores, not {value:g}")
        return round(value, 3)

    @field_validator("memory")
    @classmethod
    def _memory(cls, value: int) -> int:
        if not MIN_MEMORY <= value <= MAX_BYTES:
            raise ValueError(
                f"must be between 6M ({MIN_MEMORY}) and {MAX_BYTES} bytes, not {value}{_hint(value, MIN_MEMORY)}"
            )
        return value

    @field_validator("disk")
    @classmethod
    def _disk(cls, value: int) -> int:
        if not MIB <= value <= MAX_BYTES:
            raise ValueError(f"must be between 1M ({MIB}) and {MAX_BYTES} bytes, not {value}{_hint(value, MIB)}")
        return value

    @property
    def millicores(self) -> int:
        """Integer thousandths of a core: sums of these never drift as sums of floats do."""
        return round(self.cpu * 1000)

    @property
    def limit_millicores(self) -> int:
        """What the container may use of cores at most, in thousandths."""
        return round((self.cpu_limit or self.cpu) * 1000)

    @property
    def shape(self) -> str:
        """One string for all requests that admission counts alike: the name of their waiting line."""
        numbers = f"{self.millicores}:{self.memory}:{self.gpus}:{self.gpu_memory}:{self.disk}:{self.pids}"
        return f"{numbers}:r" if self.reclaimable else numbers

    @classmethod
    def from_shape(cls, shape: str) -> Self:
        """The inverse of `shape`, as far as admission counts it; of a line's name, the shape of its jobs."""
        shape = shape.partition("/")[0]
        numbers = shape.removesuffix(":r")
        cpu, memory, gpus, gpu_memory, disk, pids = (int(part) for part in numbers.split(":"))
        return cls(
            cpu=cpu / 1000, memory=memory, gpus=gpus, gpu_memory=gpu_memory, disk=disk, pids=pids,
            reclaimable=shape.endswith(":r"),
        )  # fmt: skip


def _hint(value: int, least: int) -> str:
    return mistaken_unit(value, least, MAX_BYTES)


class Amount(BaseModel):
    """An amount of everything a node has. Additive: capacity, reserve, allocatable, reserved are all Amounts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    millicores: int = 0
    memory: int = 0
    gpus: int = 0
    disk: int = 0
    pids: int = 0
    slots: int = 0
    #: thousandths of cores for reclaimable jobs: what nobody has reserved, and what reservations leave idle
    spare: int = 0

    @classmethod
    def of(cls, request: Request) -> Self:
        """What one job with this request takes. `gpus` are whole devices; shares of devices are not additive."""
        return cls(
            millicores=0 if request.reclaimable else request.millicores,
            spare=request.millicores if request.reclaimable else 0,
            memory=request.memory,
            gpus=0 if request.gpu_memory else request.gpus,
            disk=request.disk,
            pids=request.pids,
            slots=1,
        )

    def __add__(self, other: Amount) -> Amount:
        return Amount(**{name: getattr(self, name) + getattr(other, name) for name in RESOURCES})

    def __sub__(self, other: Amount) -> Amount:
        return Amount(**{name: getattr(self, name) - getattr(other, name) for name in RESOURCES})

    def floor(self) -> Amount:
        """The same with nothing below zero."""
        return Amount(**{name: max(0, getattr(self, name)) for name in RESOURCES})

    def within(self, other: Amount) -> Amount:
        """The smaller of the two, resource by resource."""
        return Amount(**{name: min(getattr(self, name), getattr(other, name)) for name in RESOURCES})

    def covers(self, other: Amount) -> bool:
        """Whether `other` fits into this."""
        return not self.lacks(other)

    def lacks(self, other: Amount) -> dict[str, int]:
        """How much of which resource is missing for `other` to fit; empty when it fits."""
        missing = {name: getattr(other, name) - getattr(self, name) for name in RESOURCES}
        return {name: amount for name, amount in missing.items() if amount > 0 and getattr(other, name) > 0}

    @property
    def cpu(self) -> float:
        """Cores."""
        return self.millicores / 1000


RESOURCES: tuple[str, ...] = tuple(Amount.model_fields)


def describe(name: str, amount: int) -> str:
    """'millicores', 1500 → '1.5 cores'; for messages to people."""
    if name == "millicores":
        return "1 core" if amount == 1000 else f"{amount / 1000:g} cores"
    if name == "spare":
        return "1 idle core" if amount == 1000 else f"{amount / 1000:g} idle cores"
    if name in ("memory", "disk"):
        return f"{format_size(amount)} of {name}"
    if name == "pids":
        return "1 process" if amount == 1 else f"{amount} processes"
    if name == "gpu_memory":
        return f"{format_size(amount)} of memory on a GPU"
    if name == "gpus":
        return f"{amount} GPU" if amount == 1 else f"{amount} GPUs"
    return "1 slot" if amount == 1 else f"{amount} slots"


def format_size(amount: int) -> str:
    """Bytes in the largest unit that keeps three digits: 268435456 → '256M'."""
    value = float(amount)
    for unit in ("", "K", "M", "G", "T"):
        if abs(value) < 1024 or unit == "T":
            return f"{value:.3g}{unit}" if value < 1000 else f"{value:.0f}{unit}"
        value /= 1024
    raise AssertionError("unreachable")
