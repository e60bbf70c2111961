"""From untrusted fields to a durable job: defaults filled in, every field checked, room on some node proved.

Shared by the bridge (assignments over gRPC) and the worker (jobs sent by a plain Celery client).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hivemind_worker.admission.possible import never_fits
from hivemind_worker.domain.assignment import Assignment, check_env
from hivemind_worker.domain.errors import HiveMindError, InvalidField, StoreUnavailable
from hivemind_worker.domain.job import State
from hivemind_worker.domain.node import Node
from hivemind_worker.domain.resources import Request
from hivemind_worker.settings import Settings
from hivemind_worker.store.blobs import BlobStore
from hivemind_worker.store.jobs import Created, JobStore, NewJob

_REQUEST_FIELDS = frozenset(Request.model_fields)


class SiteNodes(Protocol):
    """The part of the ledger that intake needs: the ledger itself, or who remembers its nodes for a moment."""

    def nodes(self) -> Sequence[Node]:
        """All nodes of the site. May raise StoreUnavailable."""


class Intake:
    """Accepts assignments. Threads may share it. Holds nothing but its clients."""

    def __init__(self, jobs: JobStore, site: SiteNodes, bundles: BlobStore, settings: Settings) -> None:
        self._jobs = jobs
        self._site = site
        self._bundles = bundles
        self._settings = settings

    def check(self, fields: Mapping[str, Any], secrets: Mapping[str, str] | None = None) -> NewJob:
        """Fill in defaults and check every field of one assignment. No I/O. Raises InvalidField."""
        assignment = Assignment.parse(with_defaults(fields, self._settings))
        asked = assignment.asked(given(fields))
        try:
            checked = check_env(secrets or {})
        except ValueError as error:
            raise InvalidField("secrets", str(error)) from None
        shadowed = sorted(set(checked) & set(assignment.env))
        if shadowed:
            raise InvalidField("secrets", f"{shadowed[0]} is given in env as well; give it once")
        if assignment.bundle_sha256 or checked:
            # Both lie in this node's own directory, or are sealed with a key that does.
            assignment = assignment.model_copy(update={"home": self._settings.node_id})
        return NewJob(assignment, checked, asked)

    def accept(self, new: NewJob) -> tuple[Created, State]:
        """Make one durable. Raises NeverFits, InvalidField (its bundle), AlreadyExists, QueueFull, StoreUnavailable."""
        answer = self.accept_many([new])[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def accept_many(self, batch: Sequence[NewJob]) -> list[tuple[Created, State] | Exception]:
        """Make several durable in few round trips; each succeeds or fails by itself, as `accept` says."""
        try:
            nodes = self._site.nodes()
            refusals = [self._refusal(new, nodes) for new in batch]
            welcome = [new for new, refusal in zip(batch, refusals, strict=True) if refusal is None]
            answers = iter(self._jobs.create_many(welcome) if welcome else [])
            return [
                next(answers) if refusal is None else self._jobs.known(new) or refusal
                for new, refusal in zip(batch, refusals, strict=True)
            ]
        except StoreUnavailable as error:
            return [error] * len(batch)

    def _refusal(self, new: NewJob, nodes: Sequence[Node]) -> HiveMindError | None:
        """Why a new assignment cannot be taken. What was accepted before is not asked this again."""
        bundle = new.assignment.bundle_sha256
        if bundle and not self._bundles.exists(bundle):
            return InvalidField("bundle_sha256", "no such bundle was uploaded to this node; upload it first")
        home = new.assignment.home
        if home:
            nodes = [node for node in nodes if node.node == home]
        return never_fits(new.assignment.requests, nodes, home)


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that say something: neither absent nor, but for the id, empty text. Pure."""
    said = {name: value for name, value in fields.items() if value is not None and (value != "" or name == "task_id")}
    wanted = said.get("requests")
    if isinstance(wanted, Mapping):
        said["requests"] = {name: value for name, value in wanted.items() if value is not None}
    return said


def with_defaults(fields: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """The assignment with the node's defaults where a field is absent or None. Pure."""
    said = given(fields)
    wanted = said.get("requests", {})
    if not isinstance(wanted, Mapping):
        raise InvalidField("requests", f"must be a mapping of {', '.join(Request.model_fields)}")
    defaults: dict[str, Any] = {
        "cpu": settings.default_cpu,
        "memory": settings.default_memory,
        "disk": settings.default_disk,
        "pids": settings.default_pids,
    }
    return {
        "image": settings.default_image,
        "timeout_seconds": settings.default_timeout,
        "priority": settings.default_priority,
        "network": settings.default_network,
        **said,
        "requests": defaults | dict(wanted),
    }


def plain_fields(spec: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """A plain Celery client's one argument → (assignment fields, secrets). Raises InvalidField."""
    fields = dict(spec)
    secrets = fields.pop("secrets", None) or {}
    if not isinstance(secrets, Mapping) or not all(
        isinstance(name, str) and isinstance(value, str) for name, value in secrets.items()
    ):
        raise InvalidField("secrets", "must map names to texts")
    timeout = fields.get("timeout_seconds")
    if isinstance(timeout, float) and not math.isfinite(timeout):
        raise InvalidField("timeout_seconds", "must be a finite number")
    return fields, dict(secrets)
