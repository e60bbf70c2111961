"""The page of one node in a real browser: what an operator sees of it, above all when something is wrong."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hivemind_worker.bootstrap import Stores, open_stores
from hivemind_worker.domain.node import Gpu, NodeState
from hivemind_worker.domain.resources import GIB, MIB
from hivemind_worker.settings import Settings, load_settings
from tests.browser import Page
from tests.builders import request
from tests.redis_server import OwnRedis
from tests.serving import serving
from tests.site import Site

CARDS = (
    Gpu(uuid="GPU-a", name="A card", memory=16 * GIB, reserved=GIB, score=130.0),
    Gpu(uuid="GPU-b", name="A card", memory=8 * GIB, index=1),
)
ILL = CARDS[1].model_copy(update={"trouble": "it does not answer: GPU is lost"})
ATTENTION = "document.getElementById('attention').innerText"
#: the texts of the page that do not stand out from what is behind them: WCAG 2.2, 1.4.3, contrast of 4.5
PALE = """(() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
    const rgba = (color) => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const light = ([r, g, b]) => {
        const part = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        return 0.2126 * part(r / 255) + 0.7152 * part(g / 255) + 0.0722 * part(b / 255);
    };
    const behind = (element) => {
        for (let each = element; each; each = each.parentElement) {
            const color = rgba(getComputedStyle(each).backgroundColor);
            if (color[3] === 255) return color;
        }
        return [255, 255, 255, 255];
    };
    const told = [...document.querySelectorAll("body *")].filter((element) => element.checkVisibility()
        && [...element.childNodes].some((child) => child.nodeType === 3 && child.data.trim()));
    return told.map((element) => {
        const [a, b] = [light(rgba(getComputedStyle(element).color)), light(behind(element))];
        return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.className, element.textContent.slice(0, 40)];
    }).filter(([contrast]) => contrast < 4.5);
})()"""


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    """A node that nobody takes for silent while a slow browser looks at it."""
    patient = {"heartbeat_timeout": 3600.0, "node_lost_after": 7200.0}
    return load_settings(state=tmp_path / "state", redis_url=redis_url, node_id="n1", **patient)


@pytest.fixture
def site(stores: Stores) -> Site:
    made = Site(stores)
    made.announce(gpus=CARDS)
    return made


def show(page: Page, path: str = "/nodes/n1") -> None:
    page.goto(f"{page.origin}{path}")
    page.wait("document.getElementById('live').dataset.on === 'true'")


def amount(resource: str, column: str) -> str:
    return f"document.querySelector('#resources [data-resource={resource}] [data-amount={column}]').textContent"


def in_minutes(minutes: float) -> int:
    return int((time.time() + 60 * minutes) * 1000)


def test_a_node_that_is_not_there_is_said_to_be_so(page: Page) -> None:
    show(page, "/nodes/elsewhere")
    page.wait("document.getElementById('missing').innerText.includes('no node called elsewhere')")
    assert page.evaluate("document.getElementById('view').hidden")


def test_what_a_node_has_lends_and_keeps_is_told_per_resource_as_it_changes(page: Page, site: Site) -> None:
    show(page)
    page.wait(f"{amount('cpu', 'free')} === '4 cores'")
    site.start("t1", requests=request(cpu=1.5, memory=256 * MIB))
    page.wait(f"{amount('cpu', 'reserved')} === '1.5 cores'")
    assert page.evaluate(amount("cpu", "free")) == "2.5 cores"
    assert page.evaluate(amount("memory", "free")) == "768 MiB"
    assert page.evaluate(amount("pids", "reserved")) == "64"
    meter = "document.querySelector('#resources [data-resource=cpu] [role=meter]')"
    assert page.evaluate(f"{meter}.getAttribute('aria-valuetext')") == "1.5 of 4 cores reserved"
    held = f"{meter}.querySelector('.held').getBoundingClientRect().width / {meter}.getBoundingClientRect().width"
    page.evaluate(f"Promise.all({meter}.getAnimations({{subtree: true}}).map((each) => each.finished))")
    assert page.evaluate(held) == pytest.approx(1.5 / 4, abs=0.02)
    page.wait("document.querySelector('#jobs [data-task-id=t1]')")
    assert [each for each in page.complaints if "/health" not in each] == []  # a bridge, say, does not run here


def test_a_lowered_cap_says_that_jobs_hold_more_and_that_nothing_is_ended(page: Page, site: Site) -> None:
    site.start("t1", requests=request(cpu=3.0))
    show(page)
    site.stores.ledger.set_caps("n1", {"millicores": 2000})
    page.wait(f"{ATTENTION}.includes('nothing is ended for that')")
    page.wait(f"{ATTENTION}.includes('Capped by an operator to 2 cores')")
    assert page.evaluate(amount("cpu", "cap")) == "2 cores"
    assert page.evaluate(amount("cpu", "free")) == "0 cores"


def test_a_cap_above_the_machine_is_warned_of_whoever_set_it(page: Page, site: Site) -> None:
    site.announce({"remarks": ("HIVEMIND_MAX_GPUS=9 is more than this machine has",)}, gpus=CARDS)
    site.stores.ledger.set_caps("n1", {"memory": 64 * GIB})
    show(page)
    page.wait(f"{ATTENTION}.includes('the cap of 64G of memory is more than the node has')")
    page.wait(f"{ATTENTION}.includes('HIVEMIND_MAX_GPUS=9')")
    show(page, "/dashboard")
    page.wait("document.querySelector('[data-node=n1] .badges').innerText.includes('warnings: 2')")


def test_devices_say_who_is_on_them(page: Page, site: Site) -> None:
    site.start("shares", owner="ada", gpus=("GPU-a",), requests=request(gpus=1, gpu_memory=6 * GIB))
    site.start("whole", gpus=("GPU-b",), requests=request(gpus=1))
    show(page)
    page.wait(
        "document.querySelector('[data-gpu=GPU-a] .amount').textContent === '6 GiB of 15 GiB held; 16 GiB in all'"
    )
    page.wait("document.querySelector('[data-gpu=GPU-a] .holders').innerText.includes('ada · share of 6 GiB')")
    page.wait("document.querySelector('[data-gpu=GPU-b] .holders').innerText.includes('whole device')")
    link = "document.querySelector('[data-gpu=GPU-b] .holders a').getAttribute('href')"
    assert page.evaluate(link) == "/tasks/whole"


def test_a_device_that_falls_ill_or_is_cordoned_says_so_before_the_readers_eyes(page: Page, site: Site) -> None:
    show(page)
    page.wait("document.querySelector('[data-gpu=GPU-b] .badge').textContent === 'takes jobs'")
    site.announce(gpus=(CARDS[0], ILL))
    page.wait("document.querySelector('[data-gpu=GPU-b] .badge').textContent === 'out of service'")
    page.wait("document.querySelector('[data-gpu=GPU-b] .trouble').innerText.includes('GPU is lost')")
    page.wait(f"{ATTENTION}.includes('GPU 1 is out of service')")
    site.stores.ledger.cordon("n1", ["GPU-a"], on=True)
    page.wait("document.querySelector('[data-gpu=GPU-a] .badge').textContent === 'cordoned'")
    page.wait(f"{ATTENTION}.includes('GPU 0 is cordoned')")
    site.announce(gpus=CARDS)
    page.wait("document.querySelector('[data-gpu=GPU-b] .badge').textContent === 'takes jobs'")


def test_a_node_is_drained_by_keyboard_and_says_until_when_it_has_jobs(page: Page, site: Site) -> None:
    site.start("t1", deadline=in_minutes(119))
    show(page)
    page.wait("!document.getElementById('drain').hidden")
    for _ in range(30):
        if page.evaluate("document.activeElement.id") == "drain":
            break
        page.press("Tab")
    assert page.evaluate("document.activeElement.id") == "drain"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter")
    page.wait("document.getElementById('confirm').open")
    page.press("Escape")
    page.wait("!document.getElementById('confirm').open")
    assert site.stores.ledger.node("n1").state is NodeState.UP
    page.press("Enter")
    page.wait("document.getElementById('confirm').open")
    page.press("Tab")
    page.press("Enter")
    page.wait("document.getElementById('state').textContent === 'draining'")
    page.wait(f"{ATTENTION}.includes('Still running: 1.') && {ATTENTION}.includes('Empty at the latest by')")
    assert page.evaluate(f"/in 1 h 5\\d m/.test({ATTENTION})")


def test_a_node_that_is_lost_says_since_when_and_promises_no_end(page: Page, site: Site) -> None:
    site.start("t1", deadline=in_minutes(60))
    show(page)
    page.wait("document.querySelector('[data-fact=empty]').innerText.includes('Empty at the latest')")
    page.wait("document.getElementById('state').textContent === 'up'")
    site.stores.redis.hset(site.stores.keys.node("n1"), "heartbeat", in_minutes(-180))
    page.wait("document.getElementById('state').textContent === 'down'")
    page.wait(f"{ATTENTION}.includes('Not heard of since') && {ATTENTION}.includes(', 3 h')")
    assert page.evaluate("document.getElementById('drain').hidden")
    assert page.evaluate("document.querySelector('[data-fact=empty]')") is None


def test_a_node_whose_engine_does_not_answer_says_so(page: Page, site: Site) -> None:
    show(page)
    site.announce({"trouble": "the container engine does not answer"}, gpus=CARDS)
    page.wait(f"{ATTENTION}.includes('Admits nothing: the container engine does not answer')")


def test_behaviour_is_told_in_words(page: Page, site: Site) -> None:
    site.announce({"on_partition": "stop", "durability": "always", "cpu_factor": 1.4, "cpu_score": 87.0}, gpus=CARDS)
    show(page)
    page.wait("document.querySelector('[data-fact=on_partition] dd').textContent.includes('stops its containers')")
    assert "a power cut" in page.evaluate("document.querySelector('[data-fact=durability] dd').textContent")
    assert page.evaluate("document.querySelector('[data-fact=cpu_factor] dd').textContent").startswith("1.4 ×")


def test_what_was_put_aside_is_warned_of_on_the_node_and_listed_on_the_monitor(page: Page, site: Site) -> None:
    site.submit("bad")
    site.stores.redis.hset(site.stores.keys.job("bad"), "spec", "{")
    site.stores.audit.put_aside("bad", "its spec is cut off")
    show(page)
    page.wait(f"{ATTENTION}.includes('redis: 1 damaged thing put aside')")
    show(page, "/monitor")
    page.wait("document.getElementById('quarantine').innerText.includes('job:bad')")


def test_while_redis_is_away_what_is_shown_is_marked_as_old(browser: Page, tmp_path: Path) -> None:
    server = OwnRedis(tmp_path)
    server.up()
    settings = load_settings(state=tmp_path / "state", redis_url=server.url, node_id="n1")
    stores = open_stores(settings)
    try:
        site = Site(stores)
        site.announce(gpus=CARDS)
        with serving(settings, stores) as client:
            browser.origin = str(client.base_url).rstrip("/")
            show(browser)
            browser.wait(f"{amount('cpu', 'free')} === '4 cores'")
            server.down()
            browser.wait("document.getElementById('banner').innerText.includes('Redis does not answer')")
            browser.wait("document.body.dataset.stale === 'true'")
            assert browser.evaluate(amount("cpu", "free")) == "4 cores"
            server.up()
            site.announce(gpus=CARDS)
            browser.wait("document.getElementById('banner').hidden && document.body.dataset.stale === 'false'")
            browser.goto("about:blank")
    finally:
        stores.close()
        server.down()


@pytest.mark.parametrize("path", ["/nodes/n1", "/dashboard", "/monitor", "/tasks/next", "/tasks/t1"])
@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out_from_what_is_behind_it(page: Page, site: Site, path: str, dark: bool) -> None:
    site.start("t1", gpus=("GPU-a",), requests=request(cpu=3.0, gpus=1, gpu_memory=GIB), deadline=in_minutes(5))
    site.announce({"trouble": "the engine does not answer"}, gpus=(CARDS[0], ILL))
    site.stores.ledger.cordon("n1", ["GPU-a"], on=True)
    site.submit("next", requests=request(cpu=2.0))
    site.stores.ledger.set_caps("n1", {"millicores": 2000, "memory": 64 * GIB})
    page.shape(dark=dark)
    show(page, path)
    ready = {"/nodes/n1": "#attention li", "/tasks/next": "#waiting-view .tile", "/tasks/t1": "#facts dd"}
    page.wait(f"document.querySelector('{ready.get(path, '[data-node=n1] .badges .badge')}')")
    assert page.evaluate(PALE) == []
    page.evaluate("document.querySelector('h1').style.color = '#777'")
    assert len(page.evaluate(PALE)) == 1
