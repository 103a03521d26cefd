"""The board in a real browser, over Darkroom's own routes and a real Valkey, without a plant."""

import re
import time
from datetime import UTC, datetime

import pytest
import redis
from airflow.models import DagRun
from airflow.utils.session import create_session
from playwright.sync_api import expect

from darkroom.fleet.servers import Fleet
from darkroom.flows import STAGES
from darkroom.live.control import Control
from darkroom.live.meter import SLOT_S, SLOTS, Meter
from darkroom.live.progress import PlanNow, Progress
from darkroom.live.rates import Rates
from darkroom.monitor import plant_api
from darkroom.serving.status import GpuStatus, State
from darkroom.settings import settings
from darkroom.store.batches import image_path
from darkroom.store.storage import open_store
from tests.browser.ui import pictures_loaded
from tests.loopback import served
from tests.servers import valkey_server
from tests.unit.airflow_app import app, token
from tests.unit.airflow_rows import BEGUN, add_chunks, add_run
from tests.unit.live_plant import chunk, server
from tests.unit.pictures import png

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def airflow_url():
    with app() as airflow, served(airflow) as url:
        yield url


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    with valkey_server(tmp_path_factory.mktemp("valkey")) as url:
        yield url


def half_an_hour(url):
    """What was measured before, and the last pictures."""
    store, meter = open_store(settings().store_url), Meter(url)
    last = int(time.time() // SLOT_S)
    with redis.Redis.from_url(url) as client:
        for number in range(SLOTS):
            for stage, each in (("generate", 30), ("inspect", 24)):
                for name in ("b1", "b2"):
                    client.hincrby(
                        f"darkroom:meter:{last - number}", f"items/{stage}/{name}", each + number % 7
                    )
    meter.computed("generate", "b1", 40, 40.0)
    for number, colour in enumerate(("red", "orange", "gold", "green", "teal", "blue", "purple", "brown")):
        key = f"{number:040x}"
        store.create(image_path("generate", key), png(colour))
        meter.chunk("generate", 90.0 + number)
        meter.chunk("inspect", 70.0 + number)
        meter.computed("inspect", "b2", 8, 8.0)
        meter.picture(
            batch_id="b1", custom_id=f"card-{number}", stage="generate", status="completed",
            path=image_path("generate", key), at=time.time(),
        )  # fmt: skip


@pytest.fixture
def plant(airflow_url, valkey, tmp_path, monkeypatch):
    """Two batches of A_C at one server of generate and two of inspect, one of which is fenced."""
    monkeypatch.setenv("DARKROOM_REDIS_URL", valkey)
    monkeypatch.setenv("DARKROOM_STORE", tmp_path.as_uri())
    monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", valkey)
    monkeypatch.setattr(plant_api, "LEAST_S", 0.1)
    settings.cache_clear()
    plant_api.looks.cache_clear()
    with redis.Redis.from_url(valkey) as client:
        client.flushall()
    gpu = GpuStatus(
        index=0, uuid="GPU-1", name="H200", temperature_c=61, memory_used_mb=9000, memory_total_mb=140000,
        xid_errors=[79],
    )  # fmt: skip
    for name, more in (("generate-1", {"gpu": gpu}), ("inspect-1", {})):
        stage = name.partition("-")[0]
        server(valkey, name, lanes=2, **more)
        Rates(valkey).tell(stage, STAGES[stage].model, f"{name}@box", 30, 30.0)
    server(valkey, "inspect-2", State.FENCED, lanes=2, reason="by hand (vera)")
    half_an_hour(valkey)
    for name in ("b0", "b1", "b2"):
        add_run(name, "success" if name == "b0" else "running")
    for name in ("b1", "b2"):
        Progress(valkey).plan(name, PlanNow("A_C", 1200, chunks=12))
        Progress(valkey).report(name, "generate", "00000", chunk(500, 500, "generate-1@box", "ended", 900))
        Progress(valkey).report(name, "generate", "00001", chunk(100, 30, "generate-1@box"))
        Progress(valkey).report(name, "inspect", "00000", chunk(200, 200, "inspect-1@box", "ended", 900))
        Progress(valkey).report(name, "inspect", "00001", chunk(100, 40, "inspect-1@box"))
    since_s = (datetime.now(UTC) - BEGUN).total_seconds()
    add_chunks("gpu_inspect", "scheduled", 14, ready_s=since_s - 40)
    add_chunks("gpu_inspect", "running", 2, waited_s=33, ready_s=since_s - 80)
    add_chunks("gpu_generate", "running", 2, waited_s=2, ready_s=since_s - 60)
    yield airflow_url
    settings.cache_clear()
    plant_api.looks.cache_clear()
    with create_session() as session:
        session.query(DagRun).delete()


@pytest.fixture
def board(browser, plant):
    """Opens the board, as somebody of a role, and waits until it is drawn."""
    opened = []

    def open_as(role, **options):
        context = browser.new_context(viewport={"width": 1280, "height": 900}, **options)
        opened.append(context)
        context.add_cookies([{"name": "_token", "value": token(role), "url": plant, "httpOnly": True}])
        page = context.new_page()
        page.on("console", lambda said: page.complaints.append(said.text) if _counts(said) else None)
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.complaints = []
        page.goto(f"{plant}/darkroom/")
        expect(page.locator("body[data-drawn]")).to_be_visible()
        return page

    yield open_as
    for context in opened:
        context.close()


def _counts(said):
    """An error; that Airflow's own icon is not here is none."""
    return said.type == "error" and not said.location["url"].endswith("pin_32.png")


def told(page):
    return page.request.get(page.url + "api/plant").json()


def figures(scope):
    names, values = scope.locator("dt").all_inner_texts(), scope.locator("dd").all_inner_texts()
    return dict(zip(names, values, strict=True))


def test_the_numbers_are_those_of_the_api(board):
    page = board("VIEWER")
    seen = told(page)
    expect(page.locator("#sentence")).to_have_text(seen["bottleneck"]["sentence"])
    evidence = figures(page.locator("#evidence"))
    assert evidence["Chunks that wait"] == f"{seen['bottleneck']['chunks_waiting']}"
    assert page.locator("#what-if tbody th").all_inner_texts() == [one["stage"] for one in seen["stages"]]
    inspect = figures(page.get_by_role("article", name="inspect"))
    assert inspect["Servers: ready / fenced / not ready"] == "1 / 1 / 0"
    assert inspect["Chunks: scheduler / broker / running"] == "14 / 0 / 2"
    assert inspect["Items: waiting / in flight / left"].endswith(" / 120 / 1,920")
    lanes = page.get_by_role("article", name="inspect").locator(".lane")
    assert [lane.get_attribute("class") for lane in lanes.all()] == ["lane busy"] * 2 + ["lane fenced"] * 2
    batch = page.get_by_role("article", name="b1")
    expect(batch.locator(".counts")).to_have_text("240 of 1,200 done · 0 failed, 0 rejected")
    expect(batch.locator("svg path")).to_have_count(2)
    assert page.locator("#servers tbody th").all_inner_texts()[0] == "inspect-2@box"  # in trouble: first
    pictures_loaded(page, 8)
    row = page.locator("#servers tbody tr", has=page.get_by_role("rowheader", name="generate-1@box"))
    _, _, _, device, _, trouble = row.locator("td").all_inner_texts()
    assert device.split(", ") == ["H200 (0)", "61°C", "9,000 MB / 140,000 MB"]
    assert "Xid 79" in trouble
    assert page.complaints == []


def test_no_text_of_the_plant_becomes_markup(board, valkey):
    server(valkey, "inspect-2", State.FENCED, lanes=2, reason=EVIL)
    page = board("VIEWER")
    expect(page.get_by_text(EVIL).first).to_be_visible()
    assert page.locator("img[src=x]").count() == 0


def test_who_may_only_look_has_no_buttons_and_is_refused(board):
    page = board("VIEWER")
    assert page.locator("main article button, main table button").count() == 0
    for path, body in (
        ("api/batches/b1/wish", {"state": "paused"}),
        ("api/servers/inspect-1@box/fence", {"fenced": True}),
    ):
        assert page.request.put(page.url + path, data=body).status == 403


def test_a_batch_is_paused_and_goes_on(board, valkey):
    page = board("ADMIN")
    page.get_by_role("button", name="Pause b1").click()
    expect(page.get_by_role("button", name="Resume b1")).to_be_visible()
    assert Control(valkey).state("b1") == "paused"
    page.get_by_role("button", name="Resume b1").click()
    expect(page.get_by_role("button", name="Pause b1")).to_be_visible()
    assert Control(valkey).state("b1") == ""


def test_a_cancelled_batch_is_asked_about_and_its_runs_are_ended_by_airflow(board, valkey):
    page = board("ADMIN")
    ended = []
    children = [
        {"dag_run_id": name, "conf": {"batch_id": batch}} for name, batch in (("c", "b1"), ("x", "b12"))
    ]

    def airflow(route):
        if route.request.method == "PATCH":
            ended.append((route.request.url.split("/dags/")[1], route.request.post_data_json))
            return route.fulfill(json={})
        active = children if "shard_flow" in route.request.url and len(ended) < 2 else []
        return route.fulfill(json={"dag_runs": active})

    page.route("**/api/v2/dags/**", airflow)
    page.get_by_role("button", name="Cancel b1").click()
    page.get_by_role("button", name="No, leave it").click()
    assert Control(valkey).state("b1") == ""
    page.get_by_role("button", name="Cancel b1").click()
    page.get_by_role("button", name="Yes, end it").click()
    expect(page.get_by_role("article", name="b1").locator(".badge")).to_have_text("cancelled")
    assert ended == [
        ("image_flow/dagRuns/run-b1", {"state": "failed"}), ("shard_flow/dagRuns/c", {"state": "failed"})
    ]  # fmt: skip


def test_a_server_is_fenced_by_whoever_may_change_pools(board, valkey):
    page = board("OP")
    page.get_by_role("button", name="Fence inspect-1@box", exact=True).click()
    with page.expect_response("**/fence") as answer:
        page.get_by_role("button", name="Yes, fence it").click()
    assert answer.value.status == 202
    wish = Fleet(valkey).tell("box", next(one for one in Fleet(valkey).servers() if one.name == "inspect-1"))
    assert wish.fenced and wish.reason == "by hand (a OP)"


def test_by_keyboard_alone_a_batch_is_paused(board):
    page = board("ADMIN")
    pause = page.get_by_role("button", name="Pause b2")
    for _ in range(60):
        page.keyboard.press("Tab")
        if pause.evaluate("node => node === document.activeElement"):
            break
    assert pause.evaluate("node => getComputedStyle(node).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Resume b2")).to_be_focused()


def test_who_listens_hears_of_another_stage_and_not_of_every_number(board, valkey):
    page = board("VIEWER")
    said = page.locator("#said").inner_text()
    add_chunks("gpu_inspect", "scheduled")
    expect(page.locator("#sentence")).to_contain_text("15 chunks wait")
    assert page.locator("#said").inner_text() == said
    server(valkey, "inspect-1", State.FENCED, lanes=2, reason="too hot")
    expect(page.locator("#said")).to_contain_text("inspect has no server")
    assert page.locator("[aria-live], [role=status]").count() == 1


def test_it_says_since_when_nobody_answers_and_goes_on_by_itself(board):
    page = board("VIEWER")
    page.route("**/api/plant", lambda route: route.abort())
    expect(page.locator("#trouble")).to_contain_text("No answer since ")
    page.unroute("**/api/plant")
    expect(page.locator("#trouble")).to_be_hidden()


def test_who_is_logged_out_meanwhile_is_told(board):
    page = board("VIEWER")
    page.context.clear_cookies()
    expect(page.locator("#trouble")).to_contain_text("You are logged out")


def test_chinese_is_a_click_or_a_browser_away(board):
    page = board("VIEWER", locale="zh-CN")
    expect(page.locator("html")).to_have_attribute("lang", "zh")
    expect(page.locator("#h-bottleneck")).to_have_text("瓶颈")
    expect(page.locator("#sentence")).to_have_text(re.compile("^瓶颈是 |可用的服务器|工厂"))
    page.get_by_role("button", name="English").click()
    expect(page.locator("#h-bottleneck")).to_have_text("Bottleneck")


def test_both_languages_have_all_words(board):
    page = board("VIEWER")
    script = """async () => {
      const words = document.querySelector("script[src]").src.replace("board.js", "words.js");
      const text = await (await fetch(words)).text();
      return ["EN", "ZH"].map(name => {
        const body = text.match(new RegExp(`const ${name} = ({[^]*?\\n});`))[1];
        return Object.keys(Function(`return (${body})`)()).sort();
      });
    }"""
    page.context.new_cdp_session(page).send("Page.setBypassCSP", {"enabled": True})
    page.reload()
    english, chinese = page.evaluate(script)
    assert english == chinese


def test_a_phone_needs_no_sideways_scrolling_and_themes_follow(board, photograph):
    page = board("ADMIN", color_scheme="dark", device_scale_factor=1)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    photograph(page, "board_dark", full_page=True)
    page.emulate_media(color_scheme="light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    photograph(page, "board", full_page=True)
    page.evaluate("localStorage.setItem('theme', 'dark')")  # as Airflow keeps it
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    page.evaluate("localStorage.clear()")
    page.set_viewport_size({"width": 390, "height": 844})
    page.reload()
    expect(page.locator("body[data-drawn]")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    photograph(page, "board_phone")


def test_in_a_frame_as_airflow_embeds_it_it_works_and_takes_its_theme(board, plant):
    page = board("ADMIN", color_scheme="light")
    page.route("**/darkroom/frame", lambda route: route.fulfill(content_type="text/html", body=FRAME))
    page.goto(f"{plant}/darkroom/frame")
    frame = page.frame_locator("iframe")
    expect(frame.locator("body[data-drawn]")).to_be_visible()
    assert frame.locator("html").get_attribute("data-theme") == "dark"
    page.evaluate("document.documentElement.className = 'light'")
    expect(frame.locator("html")).to_have_attribute("data-theme", "light")
    frame.get_by_role("button", name="Cancel b1").click()  # confirm() is not allowed there
    frame.get_by_role("button", name="No, leave it").click()
    expect(frame.get_by_role("button", name="Cancel b1")).to_be_focused()


FRAME = """<!doctype html><html class="dark"><body><iframe src="/darkroom/" style="width:100%;height:800px"
 sandbox="allow-scripts allow-same-origin allow-forms allow-downloads"></iframe></body></html>"""
