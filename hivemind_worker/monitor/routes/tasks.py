"""Jobs: list, look at, stop, give another priority."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from hivemind_worker.domain.assignment import check_task_id
from hivemind_worker.domain.errors import NotFound
from hivemind_worker.domain.job import TERMINAL, Job, State
from hivemind_worker.monitor.context import Monitor, TheMonitor
from hivemind_worker.monitor.errors import AlreadyEnded, WaitsNoMore
from hivemind_worker.monitor.held import held_jobs
from hivemind_worker.monitor.routes.answers import TaskId, answers
from hivemind_worker.monitor.schemas import Prioritized, Stopped, Task, Tasks
from hivemind_worker.store.catalogue import Listing

router = APIRouter(tags=["tasks"])


@router.get("/api/tasks", responses=answers(Tasks))
def list_tasks(
    monitor: TheMonitor,
    state: Annotated[State | None, Query(description="Only jobs in this state")] = None,
    owner: Annotated[str | None, Query(max_length=128, description="Only this owner's jobs")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str, Query(max_length=128, description="`next` of the page before")] = "",
    active: Annotated[bool, Query(description="Leave out jobs that have ended")] = False,
    held: Annotated[bool, Query(description="Only jobs that hold a reservation, all on one page")] = False,
) -> JSONResponse:
    """Jobs, newest first, page by page."""
    page = _held_page(monitor, state, owner) if held else None
    if page is None:
        page = monitor.stores.catalogue.list(
            state=state,
            owner=owner or None,
            active_only=active or (state is not None and state not in TERMINAL),
            limit=limit,
            cursor=cursor,
        )
    return JSONResponse({"tasks": monitor.explainer.views(page.jobs), "next": page.next, "note": page.note})


def _held_page(monitor: Monitor, state: State | None, owner: str | None) -> Listing:
    def wanted(job: Job) -> bool:
        return state in (None, job.state) and owner in (None, "", job.assignment.owner)

    return Listing(tuple(filter(wanted, held_jobs(monitor.stores))), "")


@router.get("/api/tasks/{task_id}", responses=answers(Task, 404))
def get_task(monitor: TheMonitor, task_id: TaskId) -> JSONResponse:
    """One job."""
    job = monitor.stores.catalogue.get(check_task_id(task_id))
    return JSONResponse(monitor.explainer.views([job])[0])


Grace = Annotated[
    float | None,
    Query(ge=0, le=3600, allow_inf_nan=False, description="Seconds between SIGTERM and SIGKILL; the node's default"),
]


@router.post("/api/tasks/{task_id}/stop", responses=answers(Stopped, 403, 404, 409))
def stop_task(monitor: TheMonitor, task_id: TaskId, grace: Grace = None) -> JSONResponse:
    """Ask for a stop. A waiting job ends at once; a running one gets SIGTERM, then SIGKILL."""
    return JSONResponse(_stop(monitor, task_id, grace))


Priority = Annotated[int, Query(ge=0, le=9, description="0 to 9; higher goes first")]


@router.post("/api/tasks/{task_id}/priority", responses=answers(Prioritized, 403, 404, 409))
def set_priority(monitor: TheMonitor, task_id: TaskId, priority: Priority) -> JSONResponse:
    """Give a waiting job another priority."""
    try:
        accepted, state = monitor.stores.jobs.prioritize(check_task_id(task_id), priority)
    except NotFound:
        accepted, state = False, monitor.stores.catalogue.get(task_id).state
    if not accepted:
        raise WaitsNoMore(f"{task_id} does not wait any more: it is {state.value}")
    return JSONResponse({"task_id": task_id, "state": state.value, "priority": priority})


@router.post("/api/stop_task/{task_id}", responses=answers(Stopped, 403, 404, 409), deprecated=True)
def stop_task_by_its_older_name(monitor: TheMonitor, task_id: TaskId, grace: Grace = None) -> JSONResponse:
    """The same, under the name that HiveMind nodes had first."""
    return JSONResponse(_stop(monitor, task_id, grace))


def _stop(monitor: Monitor, task_id: str, grace: float | None) -> dict[str, Any]:
    seconds = monitor.settings.stop_grace if grace is None else grace
    try:
        accepted, state = monitor.stores.jobs.cancel(check_task_id(task_id), seconds)
    except NotFound:
        accepted, state = False, monitor.stores.catalogue.get(task_id).state  # the history may know how it ended
    if not accepted:
        raise AlreadyEnded(f"{task_id} has ended already: {state.value}")
    return {"task_id": task_id, "state": state.value, "accepted": True}
