"""The pages are for Airflow's users only, show what there is, and believe nothing they are told."""

import json

import pytest
from tests.unit.elements import EVIL, Elements
from tests.unit.pictures import png
from tests.unit.plant import plan, row, run, save_plan_chunk

from darkroom.monitor.board import version
from darkroom.records import BatchRequest, PlannedItem, Verdict
from darkroom.results.contact_sheet import render
from darkroom.results.manifest import collect
from darkroom.results.onward import Decision, Onward
from darkroom.settings import settings
from darkroom.store.batches import Batch, Index
from darkroom.store.storage import open_store

BROWSER = {"Accept": "text/html,application/xhtml+xml"}
PLACES = (
    "/darkroom/",
    f"/darkroom/board/{version()}/board.js",
    "/darkroom/batches/b1",
    "/darkroom/batches/b1?generation=1",
    "/darkroom/batches/b1/files/manifest.parquet",
    "/darkroom/batches/b1/files/rejects.jsonl",
    "/darkroom/batches/none",
    f"/darkroom/images/generate/ab/ab{'0' * 38}.png",
)


@pytest.fixture
def viewer(users):
    return users["viewer"]


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("DARKROOM_STORE", tmp_path.as_uri())
    settings.cache_clear()
    yield open_store(tmp_path.as_uri())
    settings.cache_clear()


@pytest.fixture
def batch(store):
    """Two items and a bad line, delivered."""
    batch = plan(store, [["a", "b"]], rejects=1)
    run(batch, {"00000": [row(batch, "a", picture=png("red")), row(batch, "b", "failed")]})
    render(batch, collect(batch))
    return batch


@pytest.mark.parametrize("place", PLACES)
def test_nobody_gets_anything_without_a_login_not_even_whether_it_exists(users, batch, place):
    answer = users["nobody"].get(place)
    assert (answer.status_code, answer.json()) == (401, {"detail": "Not authenticated"})
    sent_on = users["nobody"].get(place, headers=BROWSER)
    assert sent_on.status_code == 303
    assert sent_on.headers["location"].startswith("/api/v2/auth/login?next=%2Fdarkroom%2F")
    assert sent_on.text == ""


@pytest.mark.parametrize("place", PLACES)
def test_a_login_without_rights_on_the_dag_gets_nothing_either(users, batch, place):
    answer = users["without rights"].get(place)
    assert (answer.status_code, answer.json()) == (403, {"detail": "Forbidden"})


@pytest.mark.parametrize("place", ["docs", "redoc", "openapi.json", "nothing"])
def test_there_are_no_routes_that_nothing_guards(users, place):
    assert users["nobody"].get(f"/darkroom/{place}").status_code == 404


def test_the_sheet_shows_each_item_and_its_pictures_load_from_here(viewer, batch):
    answer = viewer.get("/darkroom/batches/b1")
    page = Elements(answer.text)
    assert answer.status_code == 200
    assert [a["data-status"] for tag, a in page.tags if tag == "figure"] == ["completed", "failed"]
    (source,) = [a["src"] for tag, a in page.tags if tag == "img"]
    picture = viewer.get(source)
    assert (picture.content, picture.headers["content-type"]) == (png("red"), "image/png")
    assert picture.headers["x-content-type-options"] == "nosniff"
    assert "private" in picture.headers["cache-control"]


def test_the_sheet_leads_to_every_file_that_is_there(viewer, batch):
    page = Elements(viewer.get("/darkroom/batches/b1").text)
    links = {a["href"] for tag, a in page.tags if tag == "a" and "/files/" in a["href"]}
    found = {link: viewer.get(link) for link in links}
    assert len(found) == 6
    assert {answer.status_code for answer in found.values()} == {200}
    rows = found["/darkroom/batches/b1/files/manifest.jsonl?generation=1"]
    assert [json.loads(line)["custom_id"] for line in rows.text.splitlines()] == ["a", "b"]
    assert rows.headers["content-disposition"] == 'attachment; filename="b1-manifest.jsonl"'
    table = found["/darkroom/batches/b1/files/manifest.parquet?generation=1"]
    assert table.content == batch.store.read(batch.manifest_path(1, "manifest.parquet"))
    assert len(found["/darkroom/batches/b1/files/rejects.jsonl"].text.splitlines()) == 1


def test_an_earlier_manifest_can_be_asked_for_and_one_that_is_not_there_cannot(viewer, batch):
    run(batch, {"00000": [row(batch, "a"), row(batch, "b")]}, stage="enhance")
    batch.store.create(batch.manifest_path(2, "claim.json"), b"{}")  # somebody is at work on it
    text = viewer.get("/darkroom/batches/b1?generation=1").text
    assert "manifest 1" in Elements(text).text
    for absent in (2, 3):
        assert viewer.get(f"/darkroom/batches/b1?generation={absent}").status_code == 404
    assert viewer.get("/darkroom/batches/b1?generation=0").status_code == 422


def test_a_batch_without_a_manifest_says_so_and_looks_again(viewer, store):
    plan(store, [["a"]])
    answer = viewer.get("/darkroom/batches/b1")
    assert answer.status_code == 200
    assert "no manifest yet" in Elements(answer.text).text
    assert ("meta", {"http-equiv": "refresh", "content": "10"}) in Elements(answer.text).tags
    assert viewer.get("/darkroom/batches/b1/files/manifest.jsonl").status_code == 404


def test_a_person_is_told_on_a_page_that_there_is_no_such_batch(viewer, store):
    answer = viewer.get("/darkroom/batches/nowhere", headers=BROWSER)
    assert answer.status_code == 404
    assert "there is no such batch" in Elements(answer.text).text
    assert viewer.get("/darkroom/batches/nowhere").json() == {"detail": "there is no such batch"}


def test_no_text_of_a_batch_becomes_markup(viewer, store):
    batch = Batch(store, "b1")
    batch.save_request(BatchRequest(flow="A_C", source="s", batch_id="b1"))
    save_plan_chunk(batch, "00000", [PlannedItem(custom_id=EVIL, prompt=EVIL, seed=1)])
    batch.save_index(Index(flow="A_C", chunk_ids=["00000"], sizes=[1], items=1))
    verdict = Verdict(accepted=False, reasons=[EVIL])
    run(batch, {"00000": [row(batch, EVIL, "rejected", verdict=verdict, image_uri=f"http://evil/{EVIL}")]})
    collect(batch)
    answer = viewer.get("/darkroom/batches/b1")
    page = Elements(answer.text)
    assert page.text.count(EVIL) >= 3  # its id, its reason, its prompt
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not any(name.startswith("on") for _, a in page.tags for name in a)
    assert not [a for tag, a in page.tags if tag == "img"]  # not in our store
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    "path",
    [
        "batches/..%2f..%2fetc",
        "batches/b1/files/..%2f..%2frequest.json",
        "batches/b1/files/request.json",
        "batches/b1/files/contact_sheet.html",
        "batches/b1/files/manifest.parquet%00.png",
        "batches/%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "batches/.hidden",
        "images/generate/ab/..%2f..%2f..%2frequest.png",
        "images/../batches/b1/request.json",
        f"images/generate/cd/ab{'0' * 38}.png",
        f"images/generate/ab/AB{'0' * 38}.png",
        f"images/%2e%2e/ab/ab{'0' * 38}.png",
        "images/generate/ab/ab.png",
    ],
)
@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_tricks_in_a_path_lead_nowhere(viewer, batch, path, accept):
    answer = viewer.get(f"/darkroom/{path}", headers={"Accept": accept})
    assert answer.status_code == 404
    assert "<script>alert" not in answer.text


def test_a_store_that_does_not_answer_is_said_plainly(users, monkeypatch):
    monkeypatch.setenv("DARKROOM_STORE", "s3://bucket")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    settings.cache_clear()
    answer = users["viewer"].get("/darkroom/batches/b1")
    assert (answer.status_code, answer.json()["detail"]) == (
        503,
        "the store does not answer; try again later",
    )
    settings.cache_clear()


def test_the_page_leads_to_what_has_gone_on(viewer, batch):
    onward = Onward(route="parity", flow="B_C", batch_id="b1-parity-B_C", source="s", items=1)
    decision = Decision(generation=1, sent=[onward], asked=1)
    batch.store.create_json(f"{batch.root}/then/parity/0001.json", decision.model_dump(mode="json"))
    page = viewer.get("/darkroom/batches/b1").text
    assert '<a href="/darkroom/batches/b1-parity-B_C">then B_C: 1 items</a>' in page


def test_the_sheet_leads_back_to_the_board(viewer, batch):
    assert ("a", {"href": "/darkroom/"}) in Elements(viewer.get("/darkroom/batches/b1").text).tags


def test_the_page_before_the_first_manifest_leads_back_too(viewer, store):
    plan(store, [["a"]])
    assert ("a", {"href": "/darkroom/"}) in Elements(viewer.get("/darkroom/batches/b1").text).tags
