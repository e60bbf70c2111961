"""Errors as the outside sees them: `{error: {code, message, field}}` with the right status."""

from __future__ import annotations

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from hivemind_worker.domain.errors import HiveMindError, InvalidField

log = structlog.get_logger()

STATUS = {
    "invalid": 400,
    "not_found": 404,
    "exists": 409,
    "ended": 409,
    "started": 409,
    "stale": 409,
    "never_fits": 409,
    "queue_full": 429,
    "busy": 503,
    "store_away": 503,
    "engine_away": 503,
    "history_away": 503,
}
CODES = {404: "not_found", 405: "method", 416: "range"}


class AlreadyEnded(HiveMindError):
    """The job has ended; there is nothing to stop."""

    code = "ended"


class WaitsNoMore(HiveMindError):
    """The job has started or ended; there is no place in the line to change."""

    code = "started"


class TooManyWatchers(HiveMindError):
    """So many clients watch already that one more would be too many."""

    code = "busy"


def error_response(
    status: int, code: str, message: str, field: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    """The one shape of an error."""
    body = {"error": {"code": code, "message": message, "field": field}}
    return JSONResponse(body, status, headers=headers)


def install(app: FastAPI) -> None:
    """Teach the application our errors."""
    app.add_exception_handler(HiveMindError, _ours)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unforeseen)


async def _ours(_: Request, error: Exception) -> Response:
    assert isinstance(error, HiveMindError)
    status = STATUS.get(error.code, 500)
    headers = {"Retry-After": "2"} if status == 503 else None
    if isinstance(error, InvalidField):
        return error_response(status, error.code, error.reason, error.field)
    return error_response(status, error.code, str(error), None, headers)


async def _bad_parameter(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return error_response(400, "invalid", first["msg"], str(first["loc"][-1]))


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers) if error.headers else None
    code = CODES.get(error.status_code, "invalid")
    return error_response(error.status_code, code, error.detail, None, headers)


async def _unforeseen(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, exc_info=error)
    return error_response(500, "internal", "something went wrong inside HiveMind; the monitor's log says what")
