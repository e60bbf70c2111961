"""The pages for people. A page is a frame and its words; its script fetches the rest from the API."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from hivemind_worker.domain.assignment import check_task_id
from hivemind_worker.domain.job import State
from hivemind_worker.monitor.catalogue import choose_language, load_catalogues
from hivemind_worker.monitor.routes.answers import TaskId
from hivemind_worker.version import __version__

NodeId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
AcceptLanguage = Annotated[str, Header()]


class Pages:
    """Renders one template in the reader's language."""

    def __init__(self) -> None:
        self._catalogues = load_catalogues()
        self._templates = Environment(
            loader=PackageLoader("hivemind_worker.monitor"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def render(self, page: str, accept_language: str, **values: Any) -> HTMLResponse:
        """The page as a response."""
        words = self._catalogues[choose_language(accept_language)]
        text = self._templates.get_template(f"{page}.html").render(
            t=words.t, words=words.words, language=words.language, page=page, version=__version__, **values
        )
        headers = {"Content-Language": words.language, "Vary": "Accept-Language"}
        return HTMLResponse(text, headers=headers)


def pages_router() -> APIRouter:
    """The routes of the pages, with their templates loaded once."""
    router, pages = APIRouter(include_in_schema=False), Pages()

    @router.get("/")
    async def root() -> RedirectResponse:
        return RedirectResponse("/dashboard")

    @router.get("/dashboard")
    async def dashboard(accept_language: AcceptLanguage = "") -> HTMLResponse:
        return pages.render("dashboard", accept_language)

    @router.get("/tasks")
    async def tasks(accept_language: AcceptLanguage = "") -> HTMLResponse:
        return pages.render("tasks", accept_language, states=[state.value for state in State])

    @router.get("/tasks/{task_id}")
    async def task(task_id: TaskId, accept_language: AcceptLanguage = "") -> HTMLResponse:
        return pages.render("task", accept_language, task_id=check_task_id(task_id))

    @router.get("/nodes/{node}")
    async def node(node: NodeId, accept_language: AcceptLanguage = "") -> HTMLResponse:
        return pages.render("node", accept_language, node=node)

    @router.get("/monitor")
    async def monitor(accept_language: AcceptLanguage = "") -> HTMLResponse:
        return pages.render("monitor", accept_language)

    return router
