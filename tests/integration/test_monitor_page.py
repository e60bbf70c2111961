"""The pages in a real browser: live, safe against what jobs are called and print, readable by everybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from hivemind_worker.bootstrap import Stores
from hivemind_worker.domain.outcome import Cause
from hivemind_worker.settings import Settings
from hivemind_worker.store.logs import Stream
from tests.browser import Page, chromium
from tests.builders import request
from tests.serving import serving
from tests.site import Site

CONTROLS = ("button", "link", "combobox", "searchbox", "checkbox")
EVIL = "<img src=x onerror=window.pwned=1>"


@pytest.fixture
def site(stores: Stores) -> Site:
    made = Site(stores)
    made.announce()
    return made


def row(task_id: str) -> str:
    return f"document.querySelector('[data-task-id=\"{task_id}\"]')"


def shows(page: Page, task_id: str, text: str) -> None:
    """Wait until a job's row has this text."""
    page.wait(f"{row(task_id)}.innerText.includes({text!r})")


def open_dashboard(page: Page) -> None:
    page.goto(f"{page.origin}/dashboard")
    page.wait("document.getElementById('live').dataset.on === 'true'")


def test_jobs_come_change_and_end_before_the_readers_eyes(page: Page, site: Site) -> None:
    open_dashboard(page)
    page.wait("document.getElementById('empty').offsetParent !== null")
    site.submit("big", requests=request(cpu=400), owner="ada")
    shows(page, "big", "needs 396 cores more than n1 has, even empty")
    shows(page, "big", "No. 1")
    job = site.start("runs", requests=request(cpu=1.5))
    shows(page, "runs", "running")
    shows(page, "runs", "1.5 cores · 64 MiB")
    page.wait("document.querySelector('[data-resource=cpu] .reserved').textContent === '1.5 of 4 cores reserved'")
    page.wait("document.getElementById('count-waiting').textContent === '1'")
    site.end(job, Cause.OOM, exit_code=137, evidence="the kernel killed it")
    shows(page, "runs", "failed · out of memory")
    shows(page, "runs", "the kernel killed it")
    page.wait("document.querySelector('[data-resource=cpu] .reserved').textContent.startsWith('0 of')")
    assert page.complaints == []
    assert {url for url in page.requests if not url.startswith(page.origin)} == set()


@pytest.mark.parametrize("path", ["/dashboard", "/tasks"])
def test_a_waiting_job_says_its_place_and_when_it_probably_starts(page: Page, site: Site, path: str) -> None:
    now = site.stores.ledger.now_ms()
    site.start("runs", requests=request(cpu=4.0), deadline=now + 110_000)
    site.submit("next", requests=request(cpu=2.0))
    page.goto(f"{page.origin}{path}")
    page.wait(f"/No. 1 · in about 1 m( [0-9]+ s)? · needs 2 cores more/.test({row('next')}.innerText)")
    assert page.complaints == []


def test_what_jobs_are_called_and_print_is_text_never_markup(page: Page, site: Site) -> None:
    job = site.start("t1", owner=EVIL, command=("sh", "-c", EVIL))
    site.write("t1", EVIL.encode(), b"\n\x1b[31mred\x1b[0m <script>window.pwned=1</script>\n")
    site.end(job, Cause.EXIT, evidence=EVIL)
    open_dashboard(page)
    shows(page, "t1", EVIL)
    page.goto(f"{page.origin}/tasks/t1")
    page.wait("document.getElementById('log').innerText.includes('<script>window.pwned=1</script>')")
    page.wait(f"document.getElementById('facts').innerText.includes({EVIL!r})")
    assert "\x1b" not in page.text()
    assert page.evaluate("document.querySelectorAll('main img, main script').length") == 0
    assert page.evaluate("window.pwned === undefined")
    assert page.complaints == []


def test_a_job_is_stopped_after_asking_and_not_without(page: Page, site: Site) -> None:
    site.submit()
    open_dashboard(page)
    shows(page, "t1", "waiting")
    page.evaluate(f"{row('t1')}.querySelector('button').click()")
    page.wait("document.getElementById('confirm').open")
    assert "Stop t1?" in page.text()
    page.evaluate("document.querySelector('#confirm button[value=no]').click()")
    page.wait("!document.getElementById('confirm').open")
    assert site.stores.jobs.get("t1").state.value == "waiting"
    page.evaluate(f"{row('t1')}.querySelector('button').click()")
    page.evaluate("document.getElementById('confirm-yes').click()")
    shows(page, "t1", "stopped · cancelled")
    page.wait(f"{row('t1')}.querySelector('button').hidden")
    assert site.stores.jobs.get("t1").state.value == "stopped"


def test_a_log_is_read_live_to_its_end(page: Page, site: Site) -> None:
    job = site.start()
    site.write("t1", b"first\n")
    page.goto(f"{page.origin}/tasks/t1")
    page.wait("document.getElementById('log').textContent === 'first\\n'")
    site.write("t1", b"bad\n", first=2, stream=Stream.STDERR)
    page.wait("document.querySelector('#log .stderr').textContent === 'bad\\n'")
    site.write("t1", b"later\n", first=9)
    page.wait("document.querySelector('#log .notice').textContent.includes('not kept')")
    site.end(job)
    page.wait("document.getElementById('log-end').textContent.includes('ended')")
    page.wait("document.getElementById('state').textContent === 'completed'")
    assert page.complaints == []


def test_a_node_is_drained_and_resumed_from_its_card(page: Page) -> None:
    open_dashboard(page)
    button = "document.querySelector('[data-node=n1] header button')"
    page.wait(f"{button}.textContent === 'Drain'")
    page.evaluate(f"{button}.click()")
    page.evaluate("document.getElementById('confirm-yes').click()")
    page.wait("document.querySelector('[data-node=n1] .badge').textContent === 'draining'")
    page.evaluate(f"{button}.click()")
    page.wait("document.querySelector('[data-node=n1] .badge').textContent === 'up'")


def test_the_list_is_filtered_and_says_so_in_its_address(page: Page, site: Site) -> None:
    site.submit("a", owner="ada")
    site.end(site.start("b", owner="grace"))
    page.goto(f"{page.origin}/tasks?state=completed")
    page.wait(row("b"))
    assert page.evaluate(f"{row('a')} === null")
    page.evaluate("document.getElementById('filter-state').value = ''")
    page.evaluate("document.getElementById('filter-state').dispatchEvent(new Event('change'))")
    page.wait(row("a"))
    assert page.evaluate("location.search") == ""


def offline(page: Page, away: bool) -> None:
    page.call("Network.emulateNetworkConditions", offline=away, latency=0, downloadThroughput=-1, uploadThroughput=-1)


def test_while_the_monitor_is_away_a_banner_says_so_and_goes_by_itself(page: Page, site: Site) -> None:
    open_dashboard(page)
    assert page.evaluate("document.getElementById('banner').hidden")
    offline(page, True)
    try:
        page.evaluate("dispatchEvent(new Event('pagehide')); dispatchEvent(new Event('pageshow'))")
        page.wait("!document.getElementById('banner').hidden")
        site.submit("meanwhile")
    finally:
        offline(page, False)
    page.wait("document.getElementById('banner').hidden")
    page.wait(row("meanwhile"))


@pytest.mark.parametrize("path", ["/dashboard", "/tasks", "/tasks/t1", "/monitor", "/nodes/n1"])
def test_a_page_fits_a_phone_and_names_all_its_controls(page: Page, site: Site, path: str, tmp_path: Path) -> None:
    site.start("t1", owner="o" * 100, command=("x" * 400,))
    site.write("t1", b"y" * 3000 + b"\n")
    site.submit("w" * 64, requests=request(cpu=400))
    page.screenshot(tmp_path / "phone.png", width=390, height=800)
    page.goto(f"{page.origin}{path}")
    page.wait("document.getElementById('live').dataset.on === 'true'")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    seen = [node for node in tree if not node.get("ignored")]
    controls = [node for node in seen if node["role"]["value"] in CONTROLS]
    nameless = [node for node in controls if not node["name"]["value"].strip()]
    assert controls
    assert nameless == []
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    page.call("Emulation.clearDeviceMetricsOverride")


def test_a_german_reader_reads_german(settings: Settings, site: Site, tmp_path: Path) -> None:
    site.start("runs", requests=request(cpu=4.0), deadline=site.stores.ledger.now_ms() + 110_000)
    site.submit()
    with serving(settings, site.stores) as client, chromium(tmp_path / "de", language="de-DE,de") as page:
        page.goto(str(client.base_url.join("/dashboard")))
        page.wait(f"{row('t1')}.innerText.includes('wartet')")
        page.wait(f"{row('t1')}.innerText.includes('Nr. 1 · in etwa 1 m')")
        assert page.evaluate("document.documentElement.lang") == "de"
        assert "Stoppen" in page.text()
