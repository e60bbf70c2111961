"""For machines that watch: health and metrics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from hivemind_worker.domain.job import iso
from hivemind_worker.monitor.context import TheMonitor
from hivemind_worker.monitor.routes.answers import answers
from hivemind_worker.monitor.schemas import HealthView, Quarantine

router = APIRouter(tags=["observe"])


@router.get("/health", responses={200: {"model": HealthView}, 503: {"model": HealthView}})
async def health(monitor: TheMonitor) -> JSONResponse:
    """200 when every part is well, or can be done without for a while; else 503. With what each check found."""
    checks = await monitor.health.run()
    found = {check.status for check in checks.values()}
    status = "fail" if "fail" in found else "degraded" if "degraded" in found else "ok"
    body = {
        "status": status,
        "checks": {name: asdict(check) for name, check in checks.items()},
    }
    return JSONResponse(body, 503 if status == "fail" else 200)


@router.get("/api/quarantine", responses=answers(Quarantine))
def quarantine(monitor: TheMonitor, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> JSONResponse:
    """Damaged records, rows and log chunks that were put aside, newest first."""
    audit = monitor.stores.audit
    things = [{"key": key, "at": iso(at)} for key, at in audit.put_aside_last(limit)]
    return JSONResponse({"count": audit.quarantined(), "things": things})


router.add_api_route("/health", health, methods=["HEAD"], include_in_schema=False)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(monitor: TheMonitor) -> Response:
    """Prometheus' text format. Answers while Redis is away or hangs too, with `hivemind_redis_up 0`."""
    return Response(await monitor.metrics.page(), media_type=CONTENT_TYPE_LATEST)
