"""All jobs there are: those that Redis keeps and, behind them without a seam, those that only the history knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hivemind_worker.domain.errors import HistoryUnavailable, NotFound
from hivemind_worker.domain.job import TERMINAL, Archived, Job, State
from hivemind_worker.store.blobs import BlobStore
from hivemind_worker.store.history import History
from hivemind_worker.store.jobs import JobStore, parse_cursor


@dataclass(frozen=True, slots=True)
class Listing:
    """Some jobs, newest first, the cursor of what follows ('' at the end), and what is missing from it, if anything."""

    jobs: tuple[Job, ...]
    next: str
    note: str = ""


class Catalogue:
    """Reads over both. Threads may share it. Calls may raise StoreUnavailable."""

    def __init__(self, jobs: JobStore, history: History, artifacts: BlobStore) -> None:
        self._jobs = jobs
        self._history = history
        self._artifacts = artifacts

    def get(self, task_id: str) -> Job:
        """One job. Raises NotFound, HistoryUnavailable."""
        found = self.get_each([task_id])[0]
        if isinstance(found, Exception):
            raise found
        return found

    def get_each(self, task_ids: Sequence[str]) -> list[Job | Exception]:
        """Several jobs, each by itself: one that is not to be had is what `get` would raise."""
        kept = dict(zip(task_ids, self._jobs.get_many(task_ids), strict=True))
        missing = [task_id for task_id, job in kept.items() if job is None]
        away: HistoryUnavailable | None = None
        archived: dict[str, Job] = {}
        try:
            archived = self._history.get_many(missing)
        except HistoryUnavailable as error:
            away = error
        return [kept[task_id] or self._archived(task_id, archived, away) for task_id in task_ids]

    def _archived(self, task_id: str, archived: dict[str, Job], away: Exception | None) -> Job | Exception:
        if away is not None:
            return HistoryUnavailable(f"Redis does not know job {task_id}, and the history does not answer: {away}")
        job = archived.get(task_id)
        if job is None:
            return NotFound(f"there is no job {task_id}")
        ref = job.outcome.artifact if job.outcome else None
        kept = ref is not None and self._artifacts.kept(ref.sha256)
        return job.model_copy(update={"archived": Archived(artifact_kept=kept)})

    def list(
        self,
        *,
        state: State | None = None,
        owner: str | None = None,
        active_only: bool = False,
        limit: int = 100,
        cursor: str = "",
    ) -> Listing:
        """One page, newest first. The cursor is opaque; a page never repeats or skips a job that stays.

        A history that is away costs its own jobs, not those of Redis; `note` says so.
        """
        # Redis first: a job that it lets go of in between is in the history already.
        page = self._jobs.list(state=state, owner=owner, active_only=active_only, limit=limit, cursor=cursor)
        if active_only or (state is not None and state not in TERMINAL):
            return Listing(page.jobs, page.next)
        try:
            older = self._history.page(state=state, owner=owner, after=parse_cursor(cursor), limit=limit + 1)
        except HistoryUnavailable as error:
            return Listing(page.jobs, page.next, f"older jobs are missing: the history does not answer ({error})")
        both = {(job.times.created, job.task_id): job for job in (*older, *page.jobs)}
        places = sorted(both, reverse=True)
        more = len(places) > limit or bool(page.next)
        shown = places[:limit]
        return Listing(
            tuple(both[place] for place in shown), f"{shown[-1][0]}:{shown[-1][1]}" if more and shown else ""
        )
