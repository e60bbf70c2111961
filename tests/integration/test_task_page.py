"""The page of one job in a real browser: why it waits, what became of its attempts, where its log has gaps."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.outcome import Cause, Outcome
from hivemind_worker.domain.retry import Step
from hivemind_worker.settings import Settings, load_settings
from hivemind_worker.store.logs import Stream
from tests.browser import Page
from tests.builders import request
from tests.site import Site

#: whether a remark in the log can be read without scrolling
IN_SIGHT = """(() => {
    const log = document.getElementById("log").getBoundingClientRect();
    const remark = document.querySelectorAll("#log .notice")[PLACE];
    const {top, bottom} = remark.getBoundingClientRect();
    return remark.classList.contains("shown") && top >= log.top && bottom <= log.bottom;
})()"""


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    """A node that nobody takes for silent while a slow browser looks at it."""
    patient = {"heartbeat_timeout": 3600.0, "node_lost_after": 7200.0}
    return load_settings(state=tmp_path / "state", redis_url=redis_url, node_id="n1", **patient)


@pytest.fixture
def site(stores: Stores) -> Site:
    made = Site(stores)
    made.announce()
    return made


def show(page: Page, task_id: str) -> None:
    page.goto(f"{page.origin}/tasks/{task_id}")
    page.wait("document.getElementById('live').dataset.on === 'true'")


def waiting(part: str) -> str:
    return f"document.querySelector('[data-waiting={part}]').innerText"


def attempt(number: int) -> str:
    return f"document.querySelector('[data-attempt=\"{number}\"]').innerText"


def test_a_job_that_fits_nowhere_says_so_and_gets_no_promise(page: Page, site: Site) -> None:
    site.submit("big", requests=request(cpu=400))
    show(page, "big")
    page.wait("document.getElementById('waiting').innerText.includes('fits nowhere')")
    page.wait("document.getElementById('waiting').innerText.includes('needs 396 cores more than n1 has, even empty')")
    assert page.evaluate("document.querySelector('[data-waiting=promise]')") is None
    page.wait(f"{waiting('eta')}.includes('nobody can say yet')")


def test_a_waiting_job_says_its_place_and_whose_promise_it_waits_for(page: Page, site: Site) -> None:
    site.start("runs", requests=request(cpu=3.0), timeout_seconds=3600.0)
    site.submit("head", requests=request(cpu=4.0), timeout_seconds=60.0)
    site.submit("next", requests=request(cpu=2.0), timeout_seconds=60.0)
    show(page, "head")
    page.wait(f"{waiting('position')}.startsWith('1')")
    page.wait(f"{waiting('promise')}.includes('Promised: it starts at the latest')")
    page.wait("document.getElementById('waiting').innerText.includes('next in line')")
    show(page, "next")
    page.wait(f"{waiting('position')}.startsWith('2')")
    page.wait(f"{waiting('promise')}.includes('Before it, with a promise: head')")
    assert page.evaluate("document.querySelector('[data-waiting=promise] a').getAttribute('href')") == "/tasks/head"
    site.stores.jobs.cancel("next", 0)
    page.wait("document.getElementById('waiting').hidden")
    assert page.complaints == []


def test_attempts_say_whose_fault_each_end_was_and_who_paid(page: Page, site: Site) -> None:
    job = site.start("t1", retries=2)
    lost = Outcome(cause=Cause.ENGINE, evidence="the engine took it along")
    assert site.stores.jobs.retry(job, lost, Step("infra_failures", 0.0))
    show(page, "t1")
    page.wait(f"{attempt(1)}.includes('The infrastructure\\'s fault.')")
    page.wait(f"{attempt(1)}.includes('the job\\'s own were not touched')")
    page.wait(f"{attempt(1)}.includes('the engine took it along')")
    spent = "Own retries used: 0 of 2. Paid for by the infrastructure: 1."
    page.wait(f"document.getElementById('spent').textContent === '{spent}'")


def test_the_only_attempt_of_a_job_that_went_well_is_not_made_much_of(page: Page, site: Site) -> None:
    site.end(site.start("t1"))
    show(page, "t1")
    page.wait("document.getElementById('state').textContent === 'completed'")
    assert page.evaluate("document.getElementById('attempts').hidden")


def test_gaps_in_a_log_are_counted_and_gone_to(page: Page, site: Site) -> None:
    site.start("t1")
    site.write("t1", *[b"line\n" * 60] * 3)
    site.write("t1", b"[hivemind] 7 bytes of output are missing here: Redis was away\n", first=4, stream=Stream.NOTICE)
    site.write("t1", *[b"line\n" * 60] * 3, first=5)
    site.write("t1", b"last\n", first=20)
    show(page, "t1")
    page.wait("document.getElementById('remarks').innerText.endsWith(': 2')")
    for place in (0, 1, 0):
        page.evaluate("document.getElementById('remarks').click()")
        assert page.evaluate(IN_SIGHT.replace("PLACE", str(place)))
    assert page.evaluate("!document.getElementById('tail').checked")
