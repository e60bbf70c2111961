"""What a master sends: one assignment, checked field by field."""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from hivemind_worker.domain.errors import InvalidField
from hivemind_worker.domain.resources import MAX_BYTES, MAX_TIMEOUT, MIB, Finite, Request
from hivemind_worker.domain.units import check_whole, mistaken_unit

TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
#: the reference grammar of github.com/distribution/reference, shortened: registry/path:tag@digest
IMAGE = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\d+)?/)?"
    r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*"
    r"(?::\w[\w.-]{0,127})?(?:@sha256:[a-f0-9]{64})?",
    re.ASCII,
)
ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
SHA256 = re.compile(r"[a-f0-9]{64}")
MAX_ENV_BYTES = 256 * 1024
MAX_COMMAND_BYTES = 256 * 1024
#: Linux starts no program with a longer argument or variable (MAX_ARG_STRLEN, include/uapi/linux/binfmts.h);
#: some room is left for the variable's name
MAX_STRING_BYTES = 128 * 1024 - 1024

#: a program that does nothing holds more of a device than this
MIN_GPU_MEMORY = 64 * MIB

Network = Literal["none", "internet"]


def check_task_id(value: str) -> str:
    """Return it, or raise InvalidField('task_id')."""
    if not TASK_ID.fullmatch(value):
        raise InvalidField("task_id", f"{value[:80]!r} does not match [A-Za-z0-9][A-Za-z0-9_.-]{{0,63}}")
    return value


class Assignment(BaseModel):
    """One job as accepted, every default filled in. Secrets travel beside it, never inside."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task_id: str
    image: str
    command: tuple[str, ...] = ()
    bundle_sha256: str = ""
    env: dict[str, str] = Field(default_factory=dict)
    requests: Request
    timeout_seconds: Annotated[Finite, Field(gt=0, le=MAX_TIMEOUT)]
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    network: Network = "none"
    retries: Annotated[int, Field(ge=0, le=100)] = 0
    owner: str = ""
    #: the node that took it in, where its bundle or sealed secrets lie, and the only one that may run it; '': any.
    #: Filled in by intake, never asked for
    home: str = ""

    @property
    def kind(self) -> str:
        """What it has in common with other runs of its owner's same program.

        Those that name no owner may be anybody's: of these, only runs of the same timeout are alike.
        """
        words = (self.owner, self.image, self.bundle_sha256, *self.command[:1])
        if not self.owner:
            words += (str(math.ceil(self.timeout_seconds)),)
        return hashlib.sha256("\0".join(words).encode()).hexdigest()[:16]

    @property
    def line(self) -> str:
        """The name of its waiting line: jobs that admission cannot tell apart but by rank stand in one."""
        line = f"{self.requests.shape}/{self.kind}-{math.ceil(self.timeout_seconds)}"
        return f"{line}@{self.home}" if self.home else line

    @field_validator("priority", "retries", mode="before")
    @classmethod
    def _counts(cls, value: Any) -> Any:
        return check_whole(value)

    @field_validator("timeout_seconds", mode="before")
    @classmethod
    def _seconds(cls, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("must be a number of seconds, as in 600")
        return value

    @field_validator("task_id")
    @classmethod
    def _task_id(cls, value: str) -> str:
        return check_task_id(value)

    @field_validator("image")
    @classmethod
    def _image(cls, value: str) -> str:
        if len(value) > 512 or not IMAGE.fullmatch(value):
            raise ValueError(f"{value[:80]!r} is not an image reference such as python:3.11-slim")
        return value

    @field_validator("command")
    @classmethod
    def _command(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if value and not value[0]:
            raise ValueError("the program's name is empty")
        if sum(_passable("a word", word) for word in value) > MAX_COMMAND_BYTES:
            raise ValueError(f"is longer than {MAX_COMMAND_BYTES} bytes; put it into a bundle")
        return value

    @field_validator("bundle_sha256")
    @classmethod
    def _bundle(cls, value: str) -> str:
        if value and not SHA256.fullmatch(value):
            raise ValueError("is not a sha256 in lower-case hex")
        return value

    @field_validator("env")
    @classmethod
    def _env(cls, value: dict[str, str]) -> dict[str, str]:
        return check_env(value)

    @field_validator("owner")
    @classmethod
    def _owner(cls, value: str) -> str:
        if len(value) > 128 or not value.isprintable():
            raise ValueError("must be at most 128 printable characters")
        return value

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> Self:
        """Build one from untrusted fields. Raises InvalidField for the first that is wrong."""
        if "home" in fields:
            raise InvalidField("home", "there is no such field")
        try:
            assignment = cls.model_validate(dict(fields))
        except ValidationError as error:
            raise first_violation(error) from None
        if assignment.requests.gpu_memory and not assignment.requests.gpus:
            raise InvalidField("requests.gpu_memory", "is memory on each device; ask for gpus as well")
        share = assignment.requests.gpu_memory
        if 0 < share < MIN_GPU_MEMORY:
            hint = mistaken_unit(share, MIN_GPU_MEMORY, MAX_BYTES)
            raise InvalidField("requests.gpu_memory", f"must be at least 64M ({MIN_GPU_MEMORY}), not {share}{hint}")
        return assignment

    def asked(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """What was asked for in so many words: this assignment less the defaults that were filled into `fields`."""
        body = self.model_dump(mode="json", include=set(fields) - {"requests"})
        requests = fields.get("requests") or {}
        return body | {"requests": self.requests.model_dump(mode="json", include=set(requests))}


def digest(asked: Mapping[str, Any], secrets: Mapping[str, str], key: bytes) -> str:
    """Keyed digest of everything asked for: equal digests are the same assignment, and give no secret away.

    Defaults are no part of it: an assignment repeated after the node's defaults changed is still the same.
    """
    body = json.dumps([dict(asked), dict(secrets)], sort_keys=True)
    return hmac.new(key, body.encode(), hashlib.sha256).hexdigest()


def _passable(what: str, text: str) -> int:
    """Bytes of a text that a program can be started with. Raises ValueError."""
    if "\0" in text:
        raise ValueError(f"{what} holds a NUL character")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{what} is not valid Unicode text") from None
    if size >= MAX_STRING_BYTES:
        raise ValueError(f"{what} is longer than {MAX_STRING_BYTES - 1} bytes; put it into a bundle")
    return size


def check_env(value: Mapping[str, str]) -> dict[str, str]:
    """Names and size of an environment. Raises ValueError."""
    for name in value:
        if not ENV_NAME.fullmatch(name):
            raise ValueError(f"{name[:80]!r} is not a name for an environment variable")
    if sum(len(name) + _passable(name, text) for name, text in value.items()) > MAX_ENV_BYTES:
        raise ValueError(f"is larger than {MAX_ENV_BYTES} bytes; put it into a bundle")
    return dict(value)


def first_violation(error: ValidationError) -> InvalidField:
    """The first complaint of pydantic as one InvalidField: 'requests.cpu', 'must be …'."""
    first = error.errors(include_url=False, include_context=False)[0]
    path = ".".join(str(part) for part in first["loc"]) or "assignment"
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)
    if first["type"] == "extra_forbidden":
        message = "there is no such field"
    return InvalidField(path, message)
