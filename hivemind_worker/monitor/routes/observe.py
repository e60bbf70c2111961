"""For machines that watch: health and metrics."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from hivemind_worker.monitor.context import TheMonitor
from hivemind_worker.monitor.schemas import HealthView

router = APIRouter(tags=["observe"])


@router.get("/health", responses={200: {"model": HealthView}, 503: {"model": HealthView}})
async def health(monitor: TheMonitor) -> JSONResponse:
    """200 when every part is well, else 503; either way with what each check found."""
    checks = await monitor.health.run()
    well = all(check.status != "fail" for check in checks.values())
    body = {
        "status": "ok" if well else "fail",
        "checks": {name: asdict(check) for name, check in checks.items()},
    }
    return JSONResponse(body, 200 if well else 503)


router.add_api_route("/health", health, methods=["HEAD"], include_in_schema=False)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(monitor: TheMonitor) -> Response:
    """Prometheus' text format. Answers while Redis is away too, with `hivemind_redis_up 0`."""
    return Response(monitor.metrics.page(), media_type=CONTENT_TYPE_LATEST)
