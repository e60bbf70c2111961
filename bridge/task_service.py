"""hivemind.v1.TaskService: the life of one job, from assignment to artifact."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import aclosing
from functools import partial
from typing import Any

from bridge.batcher import Batcher
from bridge.changes import Changes
from bridge.downloads import send_artifact
from bridge.log_stream import LogStream
from bridge.lookups import Lookups
from bridge.messages import assignment_fields, task_message
from bridge.options import OPENED
from bridge.recent_nodes import RecentNodes
from bridge.uploads import Uploads
from bridge.wire.hivemind.v1 import task_pb2
from hivemind_worker.admission.explain import Explainer
from hivemind_worker.admission.intake import Intake
from hivemind_worker.admission.rules import Rules
from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.assignment import check_task_id
from hivemind_worker.domain.errors import InvalidField, NotFound
from hivemind_worker.domain.job import State
from hivemind_worker.execution.bundle import BundleLimits
from hivemind_worker.killpoints import reach
from hivemind_worker.settings import Settings
from hivemind_worker.store.jobs import Created

MOST_LISTED = 1000
#: seconds; a job that needs longer to stop is running, not stopping
MOST_GRACE = 3600.0
#: bytes of one page; long commands make pages shorter, never too large to send
_PAGE_BYTES = 4 * 1024 * 1024

_STATES = tuple(state.value for state in State)
_Asked = tuple[Mapping[str, Any], Mapping[str, str]]
_Accepted = tuple[Created, State]


class TaskService:
    """The RPCs. They raise the house's errors; `guard.Guard` turns those into the wire's."""

    def __init__(
        self,
        stores: Stores,
        settings: Settings,
        changes: Changes,
        *,
        quick: Executor,
        bulk: Executor,
    ) -> None:
        """`quick` runs short calls to Redis, `bulk` disk work, so that neither waits for the other."""
        self._stores = stores
        self._settings = settings
        self._changes = changes
        self._quick = quick
        self._bulk = bulk
        self._explainer = Explainer(stores.jobs, stores.ledger, Rules.of(settings))
        self._intake = Intake(stores.jobs, RecentNodes(stores.ledger), stores.bundles, settings)
        self._assign: Batcher[_Asked, _Accepted] = Batcher("intake", self._accept)
        self._lookups = Lookups(stores, self._explainer, bulk)
        self._uploads = Uploads(stores.bundles, BundleLimits.of(settings), bulk)
        self._logs = LogStream(self._lookups.job, self._lookups.chunks, changes, stores.artifacts, bulk)

    def start(self) -> None:
        """Begin to take calls."""
        self._assign.start()
        self._lookups.start()

    def stop(self, timeout: float) -> None:
        """Finish what was asked; `timeout` in seconds for each part."""
        self._assign.stop(timeout)
        self._lookups.stop(timeout)

    async def AssignTask(self, request: Any, _context: Any) -> Any:
        """Answers once the job is durable."""
        fields, secrets = assignment_fields(request.assignment)
        check_task_id(fields["task_id"])
        created, state = await self._assign.ask((fields, secrets))
        return task_pb2.AssignTaskResponse(task_id=fields["task_id"], state=state.value, created=created == "created")

    def _accept(self, batch: Sequence[_Asked]) -> Sequence[_Accepted | Exception]:
        """The intake thread's work: check each, then make all that pass durable together."""
        answers: list[Any] = []
        for fields, secrets in batch:
            try:
                answers.append(self._intake.check(fields, secrets))
            except Exception as error:  # noqa: BLE001 - this one caller's
                answers.append(error)
        passed = [answer for answer in answers if not isinstance(answer, Exception)]
        accepted = iter(self._intake.accept_many(passed) if passed else ())
        for new in passed:
            reach("accepted", new.assignment.task_id)
        return [answer if isinstance(answer, Exception) else next(accepted) for answer in answers]

    async def UploadBundle(self, messages: AsyncIterator[Any], _context: Any) -> Any:
        """Streams a bundle in."""
        ref = await self._uploads.receive(messages)
        return task_pb2.UploadBundleResponse(sha256=ref.sha256, size=ref.size)

    async def GetTask(self, request: Any, _context: Any) -> Any:
        """One job."""
        return task_message((await self._lookups.known(check_task_id(request.task_id))).view)

    async def ListTasks(self, request: Any, _context: Any) -> Any:
        """One page of jobs, newest first."""
        if not 0 <= request.limit <= MOST_LISTED:
            raise InvalidField("limit", f"must be between 1 and {MOST_LISTED}, or 0 for 100; not {request.limit}")
        if request.state and request.state not in _STATES:
            raise InvalidField("state", f"{request.state[:40]!r} is none of {', '.join(_STATES)}")
        return await asyncio.get_running_loop().run_in_executor(self._quick, self._page, request)

    def _page(self, request: Any) -> Any:
        limit = request.limit or 100
        while True:
            page = self._stores.catalogue.list(
                state=State(request.state) if request.state else None,
                owner=request.owner or None,
                active_only=request.active_only,
                limit=limit,
                cursor=request.cursor,
            )
            tasks = [task_message(view) for view in self._explainer.views(page.jobs)]
            answer = task_pb2.ListTasksResponse(tasks=tasks, next=page.next, note=page.note)
            if answer.ByteSize() <= _PAGE_BYTES or limit == 1:
                return answer
            limit = max(1, min(limit, len(tasks)) // 2)

    async def WatchTask(self, request: Any, _context: Any) -> AsyncIterator[Any]:
        """The job now and after every change, until it has ended."""
        task_id = check_task_id(request.task_id)
        with self._changes.follow(task_id) as follower:
            sent = None
            while True:
                known = await self._lookups.known(task_id)
                if known.view != sent:
                    yield task_message(known.view)
                    sent = known.view
                if known.job.state.terminal:
                    return
                while not follower.state_changed():
                    await follower.wait()

    async def StreamLogs(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Log chunks."""
        task_id = check_task_id(request.task_id)
        if request.from_chunk < 0:
            raise InvalidField("from_chunk", "is negative; 0 or 1 is the beginning")
        first, found = max(1, request.from_chunk), partial(context.send_initial_metadata, (OPENED,))
        async with aclosing(self._logs.send(task_id, first, follow=request.follow, found=found)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def DownloadResult(self, request: Any, _context: Any) -> AsyncIterator[Any]:
        """The artifact."""
        job = await self._lookups.job(check_task_id(request.task_id))
        artifacts, here = self._stores.artifacts, self._settings.node_id
        async with aclosing(send_artifact(job, request.offset, artifacts, self._bulk, here)) as parts:
            async for part in parts:
                yield part

    async def SetPriority(self, request: Any, _context: Any) -> Any:
        """Give a waiting task another priority."""
        change = partial(self._stores.jobs.prioritize, check_task_id(request.task_id), request.priority)
        try:
            accepted, state = await asyncio.get_running_loop().run_in_executor(self._quick, change)
        except NotFound:
            accepted, state = False, (await self._lookups.job(request.task_id)).state
        return task_pb2.SetPriorityResponse(task_id=request.task_id, state=state.value, accepted=accepted)

    async def CancelTask(self, request: Any, _context: Any) -> Any:
        """Ask for a stop."""
        task_id = check_task_id(request.task_id)
        grace = request.grace_seconds if request.HasField("grace_seconds") else self._settings.stop_grace
        if not (math.isfinite(grace) and 0 <= grace <= MOST_GRACE):
            raise InvalidField("grace_seconds", f"must be between 0 and {MOST_GRACE:g} seconds, not {grace:g}")
        try:
            cancel = partial(self._cancel, task_id, grace)
            accepted, state = await asyncio.get_running_loop().run_in_executor(self._quick, cancel)
        except NotFound:
            accepted, state = False, (await self._lookups.job(task_id)).state  # the history may know how it ended
        return task_pb2.CancelTaskResponse(task_id=task_id, state=state.value, accepted=accepted)

    def _cancel(self, task_id: str, grace: float) -> tuple[bool, State]:
        accepted, state = self._stores.jobs.cancel(task_id, grace)
        if accepted and state is State.STOPPED:
            reach("stopped", task_id)
        return accepted, state
