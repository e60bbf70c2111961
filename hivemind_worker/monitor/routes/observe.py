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
    """200 when every part is well, or can be done without for a while; else 503. With what each check found."""
    checks = await monitor.health.run()
    found = {check.status for check in checks.values()}
    status = "fail" if "fail" in found else "degraded" if "degraded" in found else "ok"
    body = {
        "status": status,
        "checks": {name: asdict(check) for name, check in checks.items()},
    }
    return JSONResponse(body, 503 if status == "fail" else 200)


router.add_api_route("/health", health, methods=["HEAD"], include_in_schema=False)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(monitor: TheMonitor) -> Response:
    """Prometheus' text format. Answers while Redis is away or hangs too, with `hivemind_redis_up 0`."""
    return Response(await monitor.metrics.page(), media_type=CONTENT_TYPE_LATEST)
