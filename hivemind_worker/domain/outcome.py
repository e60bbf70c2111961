"""How a job ended: the causes, the one table that says what each means, and the outcome itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Cause(StrEnum):
    """Why a job ended."""

    #: the program exited 0
    OK = "ok"
    #: the program exited with another code, or died of a signal of its own
    EXIT = "exit"
    #: the kernel killed it at its memory cap
    OOM = "oom"
    #: it ran longer than its timeout
    TIMEOUT = "timeout"
    #: somebody asked for it to be stopped
    CANCELLED = "cancelled"
    #: it, or its artifact, outgrew the disk
    DISK = "disk"
    #: the image could not be had
    IMAGE = "image"
    #: the bundle is damaged, unsafe or its requirements cannot be installed
    BUNDLE = "bundle"
    #: there is no program to start, or the image cannot start it
    ENTRYPOINT = "entrypoint"
    #: no node can hold it any more
    UNSCHEDULABLE = "unschedulable"
    #: the node that ran it is gone
    NODE_LOST = "node_lost"
    #: the container engine failed
    ENGINE = "engine"
    #: HiveMind failed
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class CauseRule:
    """What follows from a cause."""

    fault: Literal["none", "user", "infrastructure"]
    #: who pays for another attempt: the job's own `retries`, the small infrastructure budget, or nobody: there is none
    retry: Literal["own", "infrastructure", "never"]
    #: the owner pays for what was used
    charged: bool
    #: it counts against the trust in the node that ran the job
    distrust: bool
    #: what `hivemind run` exits with (125 not the job's fault, 126 rejected); None: the container's own exit code
    cli_exit: int | None


CAUSES: dict[Cause, CauseRule] = {
    Cause.OK: CauseRule("none", "never", True, False, 0),
    Cause.EXIT: CauseRule("user", "own", True, False, None),
    Cause.OOM: CauseRule("user", "own", True, False, 137),
    Cause.TIMEOUT: CauseRule("user", "own", True, False, 124),
    Cause.CANCELLED: CauseRule("user", "never", True, False, 130),
    Cause.DISK: CauseRule("user", "never", True, False, None),
    Cause.IMAGE: CauseRule("user", "never", False, False, 126),
    Cause.BUNDLE: CauseRule("user", "never", False, False, 126),
    Cause.ENTRYPOINT: CauseRule("user", "never", False, False, None),
    Cause.UNSCHEDULABLE: CauseRule("infrastructure", "never", False, False, 125),
    Cause.NODE_LOST: CauseRule("infrastructure", "infrastructure", False, True, 125),
    Cause.ENGINE: CauseRule("infrastructure", "infrastructure", False, True, 125),
    Cause.INTERNAL: CauseRule("infrastructure", "infrastructure", False, True, 125),
}


def rule_of(cause: str) -> CauseRule | None:
    """What follows from a cause by its name; None for none, and for one of a newer release."""
    return CAUSES[Cause(cause)] if cause in set(Cause) else None


class Usage(BaseModel):
    """What one attempt used. Bytes and seconds; zeros where the kernel kept no account."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu_seconds: float = 0.0
    memory_peak: int = 0
    block_read: int = 0
    block_write: int = 0
    network_received: int = 0
    network_sent: int = 0
    wall_seconds: float = 0.0


class BlobRef(BaseModel):
    """A stored file: hex sha256 and size in bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    size: int


class LogInfo(BaseModel):
    """How much a job wrote (bytes, kept or not) and whether some of it was dropped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int = 0
    truncated: bool = False


class Outcome(BaseModel):
    """The end of a job. `evidence` is one sentence that says what was seen, for a person."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cause: Cause
    exit_code: int | None = None
    evidence: str = ""
    usage: Usage = Field(default_factory=Usage)
    artifact: BlobRef | None = None
    log: LogInfo = Field(default_factory=LogInfo)

    @field_validator("evidence")
    @classmethod
    def _readable(cls, value: str) -> str:
        """Evidence quotes other programs: what is no text becomes '?', and a screenful is enough."""
        return value.encode("utf-8", "replace").decode("utf-8")[:4096]

    @property
    def state(self) -> Literal["completed", "failed", "stopped"]:
        """The terminal state that this outcome puts the job in."""
        if self.cause is Cause.OK:
            return "completed"
        return "stopped" if self.cause is Cause.CANCELLED else "failed"
