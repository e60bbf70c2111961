"""Reads of jobs and logs, gathered: whatever is asked for at the same moment costs one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from bridge.batcher import Batcher, shared
from hivemind_worker.admission.explain import Explainer
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.errors import HiveMindError, NotFound
from hivemind_worker.domain.job import Job
from hivemind_worker.store.logs import Chunk

#: log chunks of one read; a chunk is at most some tens of KiB
_CHUNKS = 32


@dataclass(frozen=True, slots=True)
class Known:
    """A job and its view, of one moment."""

    job: Job
    view: dict[str, Any]


class Lookups:
    """The two gathered reads. Call from the event loop."""

    def __init__(self, stores: Stores, explainer: Explainer, slow: Executor) -> None:
        """`slow` runs the reads of the history."""
        self._stores = stores
        self._explainer = explainer
        self._slow = slow
        self._known: Batcher[str, Known] = Batcher("read jobs", shared(self._read_jobs))
        self._chunks: Batcher[tuple[str, int], Sequence[Chunk]] = Batcher("read logs", shared(self._read_logs))

    def start(self) -> None:
        """Begin."""
        self._known.start()
        self._chunks.start()

    def stop(self, timeout: float) -> None:
        """End; `timeout` in seconds."""
        self._known.stop(timeout)
        self._chunks.stop(timeout)

    async def known(self, task_id: str) -> Known:
        """One job with its view, from Redis, else from the history.

        Raises NotFound, StoreUnavailable, HistoryUnavailable.
        """
        try:
            return await self._known.ask(task_id)
        except NotFound:
            if not self._stores.history.kept:
                raise
        # Apart from the gathered reads: a history that is slow holds up nobody who asks for a job of today.
        job = await asyncio.get_running_loop().run_in_executor(self._slow, self._stores.catalogue.get, task_id)
        return Known(job, self._explainer.views([job])[0])

    async def job(self, task_id: str) -> Job:
        """The same without the view."""
        return (await self.known(task_id)).job

    async def chunks(self, wanted: tuple[str, int]) -> Sequence[Chunk]:
        """Some chunks of (task_id, first number); none at the end. Raises StoreUnavailable."""
        return await self._chunks.ask(wanted)

    def _read_jobs(self, task_ids: Sequence[str]) -> Sequence[Known | Exception]:
        jobs = self._stores.jobs.get_many(task_ids)
        found = [job for job in jobs if job is not None]
        views = iter(self._explainer.views(found))
        return [
            NotFound(f"there is no job {task_id}") if job is None else Known(job, next(views))
            for task_id, job in zip(task_ids, jobs, strict=True)
        ]

    def _read_logs(self, wanted: Sequence[tuple[str, int]]) -> Sequence[Sequence[Chunk] | Exception]:
        answers: list[Sequence[Chunk] | Exception] = []
        for task_id, first in wanted:
            try:
                answers.append(self._stores.logs.read(task_id, first, count=_CHUNKS))
            except HiveMindError as error:
                answers.append(error)
        return answers
