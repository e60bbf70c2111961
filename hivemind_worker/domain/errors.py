"""Every error HiveMind raises on purpose.

HiveMindError                internal
├── SettingsError            settings       a setting is unknown or has a bad value
├── InvalidField             invalid        one field of an assignment or call is wrong
├── AlreadyExists            exists         the task_id is taken by another assignment
├── NotFound                 not_found      no such job, blob or node
├── NeverFits                never_fits     no node of the site could ever hold the request
├── QueueFull                queue_full     the waiting line, or an owner's part of it, is at its limit
│   └── TooFast              too_fast       an owner's assignments come faster than they may
├── StaleAttempt             stale          a later attempt, or the job's end, fenced this one off
│   └── AdoptedAttempt       adopted        this very attempt is in another worker's hands
├── RecordTooNew             too_new        a job's record was written by a newer release
├── RecordCorrupt            corrupt        a job's record is damaged
├── NameHeld                 name           another worker has this one's name
├── StoreUnavailable         store_away     Redis does not answer
├── HistoryUnavailable       history_away   the history's database does not answer
├── EngineUnavailable        engine_away    the container engine does not answer
└── JobRefused               (its cause)    the job cannot be started; carries the outcome's cause
    ├── BundleRefused        bundle
    ├── BundleLost           internal
    ├── ImageRefused         image
    ├── EntrypointRefused    entrypoint
    └── DiskExhausted        disk
        └── NodeDiskFull     internal

An expected end of a job (exit code, oom, timeout, stop) is an `Outcome`, not an error.
"""

from __future__ import annotations

from typing import ClassVar

from hivemind_worker.domain.outcome import Cause


class HiveMindError(Exception):
    """Something went wrong inside HiveMind."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip().splitlines()[0])


class SettingsError(HiveMindError):
    """A setting is unknown or has a bad value."""

    code = "settings"


class InvalidField(HiveMindError):
    """One field of an assignment or call is wrong."""

    code = "invalid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.reason = message


class AlreadyExists(HiveMindError):
    """The task_id is taken by another assignment."""

    code = "exists"


class NotFound(HiveMindError):
    """No such job, blob or node."""

    code = "not_found"


class NeverFits(HiveMindError):
    """No node of the site could ever hold the request."""

    code = "never_fits"


class QueueFull(HiveMindError):
    """The waiting line is at its limit."""

    code = "queue_full"


class TooFast(QueueFull):
    """An owner's assignments come faster than they may. `retry_after` in seconds."""

    code = "too_fast"

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StaleAttempt(HiveMindError):
    """A later attempt, or the job's end, fenced this one off."""

    code = "stale"


class AdoptedAttempt(StaleAttempt):
    """This very attempt is in another worker's hands."""

    code = "adopted"


class RecordTooNew(HiveMindError):
    """A job's record was written by a newer release."""

    code = "too_new"


class RecordCorrupt(HiveMindError):
    """A job's record is damaged."""

    code = "corrupt"


class NameHeld(HiveMindError):
    """Another worker has this one's name; its lease is good for `left_ms` (negative: it has none)."""

    code = "name"

    def __init__(self, worker: str, left_ms: int) -> None:
        super().__init__(f"another worker has the name {worker}")
        self.left_ms = left_ms


class StoreUnavailable(HiveMindError):
    """Redis does not answer."""

    code = "store_away"


class HistoryUnavailable(HiveMindError):
    """The history's database does not answer."""

    code = "history_away"


class EngineUnavailable(HiveMindError):
    """The container engine does not answer."""

    code = "engine_away"


class EngineUnreachable(EngineUnavailable):
    """It took no connection: what was asked of it, it has not heard."""


class JobRefused(HiveMindError):
    """The job cannot be started."""

    cause: ClassVar[Cause] = Cause.INTERNAL


class BundleRefused(JobRefused):
    """The bundle cannot be used."""

    code = "bundle"
    cause = Cause.BUNDLE


class BundleLost(JobRefused):
    """The bundle that was accepted is gone or damaged on this node: not the job's doing."""

    code = "bundle_lost"
    cause = Cause.INTERNAL


class ImageRefused(JobRefused):
    """The image is not to be had."""

    code = "image"
    cause = Cause.IMAGE


class EntrypointRefused(JobRefused):
    """There is no program to start."""

    code = "entrypoint"
    cause = Cause.ENTRYPOINT


class DiskExhausted(JobRefused):
    """The workspace's file system, or the job's share of it, is full."""

    code = "disk"
    cause = Cause.DISK


class NodeDiskFull(DiskExhausted):
    """The node's file system is full although the job is within its share: not its doing."""

    cause = Cause.INTERNAL
