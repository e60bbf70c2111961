"""`celery control revoke|terminate`, and Flower's buttons, as requests for a stop in the store."""

from __future__ import annotations

from typing import Any

import structlog
from celery.worker.control import control_command, nok, ok

from hivemind_worker.domain.errors import HiveMindError, NotFound
from hivemind_worker.domain.job import State
from hivemind_worker.step import agent_of

log = structlog.get_logger()


def stop_job(app: Any, task_id: str) -> str:
    """Record the stop. The state that followed, for a person; an unknown id is somebody else's task."""
    agent = agent_of(app)
    try:
        accepted, state = agent.stores.jobs.cancel(task_id, agent.settings.stop_grace)
    except NotFound:
        return "unknown"
    return f"{state} already" if not accepted else ("stopped" if state is State.STOPPED else "stopping")


def _revoke(state: Any, task_id: Any, terminate: bool) -> Any:
    ids = [task_id] if isinstance(task_id, str) else list(task_id or ())
    told: list[str] = []
    agent = agent_of(state.app)
    try:
        for each in ids:
            job = agent.stores.jobs.get_many([each])[0]
            if job is not None and job.state is not State.WAITING and not job.state.terminal and not terminate:
                told.append(f"{each}: runs already; use terminate to stop it")
            else:
                told.append(f"{each}: {stop_job(state.app, each)}")
    except HiveMindError as error:
        log.warning("revoke not recorded", error=str(error))
        return nok(str(error))
    return ok("; ".join(told))


@control_command(variadic="task_id", signature="[id1 [id2 [... [idN]]]]")  # type: ignore[untyped-decorator]
def revoke(state: Any, task_id: Any, terminate: bool = False, signal: Any = None, **_: Any) -> Any:
    """Stop waiting jobs; with terminate, running ones too. The signal is always SIGTERM, grace, SIGKILL."""
    return _revoke(state, task_id, terminate)


@control_command(variadic="task_id", args=[("signal", str)], signature="<signal> [id1 [id2 [... [idN]]]]")  # type: ignore[untyped-decorator]
def terminate(state: Any, signal: Any, task_id: Any, **_: Any) -> Any:
    """Stop jobs, waiting or running."""
    return _revoke(state, task_id, True)
