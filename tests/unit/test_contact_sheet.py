"""The sheet shows every kind of outcome, needs nothing else, and believes nothing it is told."""

import io
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.unit.elements import EVIL, Elements
from tests.unit.pictures import png
from tests.unit.plant import plan, row, run, save_plan_chunk

from darkroom.records import BatchRequest, ErrorInfo, PlannedItem, Verdict
from darkroom.results.contact_sheet import MAX_TILES, render, sample
from darkroom.results.manifest import collect
from darkroom.results.sheet_picture import COLOURS
from darkroom.store.batches import Batch, Index
from darkroom.store.storage import open_store


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path.as_uri())


def sheet(store, batch):
    uris = render(batch, collect(batch))
    data = {name: store.read(store.path(uri)) for name, uri in uris.items()}
    return data["contact_sheet.html"].decode(), Image.open(io.BytesIO(data["contact_sheet.png"]))


def test_every_outcome_has_a_tile_with_its_reason(store):
    batch = plan(store, [["a", "b", "c", "d"], ["e"]])
    run(
        batch,
        {
            "00000": [
                row(batch, "a", picture=png("red")),
                row(batch, "b", "rejected", picture=png("blue")),
                row(batch, "c", "failed"),
                row(batch, "d", "timed_out", error=ErrorInfo(code="expired", message="too late")),
            ]
        },
    )
    text, picture = sheet(store, batch)
    page = Elements(text)
    assert [a["data-status"] for tag, a in page.tags if tag == "figure"] == [
        "completed",
        "rejected",
        "failed",
        "timed_out",
        "failed",
    ]
    assert [a["data-show"] for tag, a in page.tags if tag == "button"] == [
        "",
        "completed",
        "rejected",
        "failed",
        "timed_out",
    ]
    for said in ("stage_failed", "blank", "expired", "undone", "a red circle", "5 items: 1 completed"):
        assert said in page.text
    assert len([tag for tag, _ in page.tags if tag == "img"]) == 2
    colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    for wanted in [*COLOURS.values(), "#ff0000", "#0000ff"]:
        assert tuple(bytes.fromhex(wanted[1:])) in colours


def test_no_text_becomes_markup_and_nothing_is_loaded(store):
    batch = Batch(store, "b1")
    batch.save_request(BatchRequest(flow="A_C", source="s", batch_id="b1"))
    save_plan_chunk(batch, "00000", [PlannedItem(custom_id=EVIL, prompt=EVIL, seed=1)])
    batch.save_index(Index(flow="A_C", chunk_ids=["00000"], sizes=[1], items=1))
    verdict = Verdict(accepted=False, reasons=[EVIL])
    details = {"near_duplicate_of": EVIL}
    run(
        batch, {"00000": [row(batch, EVIL, "rejected", picture=png("red"), verdict=verdict, details=details)]}
    )
    text, _ = sheet(store, batch)
    page = Elements(text)
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert page.text.count(EVIL) == 4  # its id, its reason, what it looks like, its prompt
    for _tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:image/webp;base64,") or "src" not in attributes
        assert "href" not in attributes
    assert not re.search(r"@import|url\(", text)


@pytest.mark.parametrize("picture", [b"no picture at all", png("red")[:60], b""])
def test_a_picture_that_cannot_be_read_is_a_tile_without_one(store, picture):
    batch = plan(store, [["a"]])
    run(batch, {"00000": [row(batch, "a", picture=picture)]})
    text, _ = sheet(store, batch)
    assert "no picture" in text


def test_a_large_batch_is_sampled_evenly_and_says_so(store):
    names = [f"i{n:03d}" for n in range(300)]
    batch = plan(store, [names[:150], names[150:]], flow="A")
    run(batch, {"00000": [row(batch, name, picture=png("red")) for name in names[:150]]}, "generate")
    text, picture = sheet(store, batch)
    page = Elements(text)
    shown = [name for name in names if f">{name}<" in text]
    assert len(shown) == MAX_TILES == len([tag for tag, _ in page.tags if tag == "figure"])
    assert (shown[0], shown[-1]) == ("i000", "i299")
    assert "96 of them, evenly spread, are shown" in page.text
    assert text.count("a red circle") >= MAX_TILES
    assert max(picture.size) < 4000


def test_an_empty_batch_has_a_sheet_too(store):
    text, picture = sheet(store, plan(store, []))
    assert "0 items" in text
    assert picture.width > 300


def test_drawing_again_changes_nothing(store):
    batch = plan(store, [["a"]])
    run(batch, {"00000": [row(batch, "a", picture=png("red"))]})
    first = sheet(store, batch)
    assert render(batch, collect(batch)).keys() == {"contact_sheet.html", "contact_sheet.png"}
    assert sheet(store, batch)[0] == first[0]


@given(st.integers(0, 5000), st.integers(2, 100))
def test_a_sample_is_even_ordered_and_not_too_large(n_rows, n_tiles):
    positions = sample(n_rows, n_tiles)
    assert len(positions) == min(n_rows, n_tiles) == len(set(positions))
    assert positions == sorted(positions)
    gaps = {after - before for before, after in pairwise(positions)}
    assert not gaps or max(gaps) - min(gaps) <= 1
    assert not positions or (positions[0], positions[-1]) == (0, n_rows - 1)


def test_a_sheet_is_drawn_once(store, monkeypatch):
    batch = plan(store, [["a"]])
    run(batch, {"00000": [row(batch, "a", picture=png("red"))]})
    drawn = render(batch, summary := collect(batch))
    monkeypatch.setattr("darkroom.results.contact_sheet.draw", None)
    assert render(batch, summary) == drawn
