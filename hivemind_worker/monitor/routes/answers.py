"""What the routes' OpenAPI entries have in common."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel

from hivemind_worker.monitor.schemas import Error

EXPLAINED = {
    400: "A parameter is wrong",
    403: "The call comes from another site",
    404: "There is none",
    409: "Its state does not allow that",
    416: "There are not so many bytes",
    503: "Redis does not answer, or a check failed",
}

TaskId = Annotated[str, Path(description="The id the master gave")]


def answers(model: type[BaseModel] | None = None, *errors: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: what a good answer looks like and which errors may come instead."""
    good: dict[int | str, dict[str, Any]] = {200: {"model": model}} if model else {}
    return good | {code: {"model": Error, "description": EXPLAINED[code]} for code in (400, *errors, 503)}
