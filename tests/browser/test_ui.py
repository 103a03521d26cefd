"""From the form to the pictures, in a real browser; and what people without rights see of it."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from darkroom.commands.connection import batch_named
from darkroom.flows import SHIPPED_FLOWS
from darkroom.results.manifest import current, verify
from darkroom.settings import settings
from darkroom.store.storage import open_store
from tests.browser.ui import pictures_loaded
from tests.stack.plant import source, until

BATCH = "from-the-form"
RED = "a large red circle on a white background"


@pytest.fixture(scope="package")
def a_batch(stack):
    """One that is there from the start: of the warm-up."""
    store = open_store(settings().store_url)
    return next(name for name in store.folders("batches") if "A_C" in name)


def test_a_colleague_starts_a_batch_from_the_form_and_sees_its_pictures(stack, ui, photograph):
    me = ui("admin")
    page = me.log_in()
    form = me.form("image_flow")
    form.get_by_role("combobox").first.click()
    options = page.get_by_role("option")
    expect(options).to_have_text([f"{flow.name}: {flow.summary}" for flow in SHIPPED_FLOWS.values()])
    options.filter(has_text="A_C").click()
    form.locator("input[name=element_source]").fill("examples/prompts.csv")
    form.locator("input[name=element_batch_id]").fill(BATCH)
    photograph(form, "trigger_form")
    me.trigger(form)
    run = me.run_shown("image_flow")
    me.succeeded()

    expect(page.get_by_text("card-01 …").first).to_be_visible()  # chunks are named after their items
    me.visit(f"{run}/tasks/a_c.generate/mapped/0")
    for said in (f"batch {BATCH}, chunk 00000", "8 at once", "computed in", "0 left over", "results: file:"):
        expect(page.get_by_text(said).first).to_be_visible()

    me.visit(f"{run}/tasks/collect/details")
    with page.expect_download() as table:
        page.get_by_role("link", name="Manifest").click()
    assert table.value.suggested_filename == f"{BATCH}-manifest.parquet"
    page.get_by_role("link", name="Contact sheet").click()
    page.wait_for_url(f"**/darkroom/batches/{BATCH}")
    pictures_loaded(page, 12)
    photograph(page, "contact_sheet", clip={"x": 0, "y": 0, "width": 1400, "height": 560})

    batch = batch_named(BATCH)
    report = verify(batch)
    assert report.ok, report.problems
    assert batch.request().flow == "A_C"
    with page.expect_download() as rows:
        page.get_by_role("link", name="manifest.jsonl").click()
    names = [json.loads(line)["custom_id"] for line in rows.value.path().read_text().splitlines()]
    assert names == [f"card-{n:02d}" for n in range(1, 13)]


def test_the_graph_reads_like_the_picture_in_the_readme(ui, a_batch, photograph):
    page = ui("admin").log_in(f"/dags/image_flow/runs/{a_batch}")  # run and batch bear one name
    page.set_viewport_size({"width": 2400, "height": 620})
    page.get_by_role("button", name="Graph").first.click()
    page.get_by_role("button", name="Expand all task groups").first.click()
    for task in ("plan", "a_c.generate", "a_c.inspect", "collect", "respin.start", "verdict"):
        expect(page.get_by_test_id(f"rf__node-{task}")).to_be_visible()
    page.get_by_role("button", name="Fit View").click()
    photograph(page, "image_flow", clip={"x": 76, "y": 100, "width": 1620, "height": 500})


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("source", "/etc/passwd", "Invalid input for param source: '/etc/passwd' does not match"),
        ("batch_id", "../etc", "Invalid input for param batch_id: '../etc' does not match"),
    ],
)
def test_a_bad_value_is_refused_in_the_form(ui, field, value, said):
    me = ui("admin")
    page = me.log_in()
    form = me.form("image_flow")
    form.locator(f"input[name=element_{field}]").fill(value)
    me.trigger(form)
    expect(form.get_by_test_id("error-alert")).to_contain_text(said)
    assert "/runs/" not in page.url


def test_without_a_source_the_form_has_no_button_to_press(ui):
    me = ui("admin")
    me.log_in()
    form = me.form("image_flow")
    form.locator("input[name=element_source]").fill("")
    expect(form.get_by_test_id("trigger-dag-submit")).to_be_disabled()


def test_without_a_login_there_is_the_login_and_no_data(ui, a_batch):
    nobody = ui("admin")
    page = nobody.page
    batch = f"/darkroom/batches/{a_batch}"
    for path in (batch, f"{batch}/files/manifest.jsonl", "/darkroom/", "/darkroom/api/plant"):
        nobody.visit(path)
        expect(page.locator("input[name=password]")).to_be_visible()
        assert page.url.startswith(f"{nobody.url}/auth/login?next=")
        assert a_batch not in page.inner_text("body")
        told = page.request.get(nobody.url + path)
        assert (told.status, told.json()) == (401, {"detail": "Not authenticated"})


def test_who_may_only_look_sees_the_pictures_and_starts_nothing(ui, a_batch):
    vera = ui("vera")
    page = vera.log_in(f"/darkroom/batches/{a_batch}")
    pictures_loaded(page, 1)
    asked = page.request.post(
        f"{vera.url}/api/v2/dags/image_flow/dagRuns", data={"logical_date": None, "conf": {}}
    )
    assert asked.status == 403


def test_a_login_without_rights_shows_nothing(ui, a_batch):
    greta = ui("greta")
    page = greta.log_in(f"/darkroom/batches/{a_batch}")
    expect(page.get_by_text("Forbidden")).to_be_visible()
    assert page.locator("img").count() == 0
    assert page.request.get(f"{greta.url}/darkroom/batches/{a_batch}/files/manifest.jsonl").status == 403


def test_a_backfill_is_started_from_the_form(ui):
    last = settings().daily.last_due(datetime.now(UTC)) - timedelta(days=7)
    days = [last - timedelta(days=1), last]
    for day in days:
        line = {"custom_id": f"{day}", "prompt": RED, "seed": 1}
        source(f"daily/{day}.jsonl", json.dumps(line))
    me = ui("admin")
    me.log_in()
    form = me.form("daily_flow")
    form.get_by_text("Run this Dag for a range of dates").click()
    for day in days:
        me.pick(form, day)
    expect(form.get_by_text("2 runs will be triggered.")).to_be_visible()
    form.get_by_role("button", name="Run Backfill").click()
    for day in days:
        batch = batch_named(f"daily-{day}")
        summary = until(lambda batch=batch: current(batch), f"the day {day} is done")
        assert summary.completed == 1
