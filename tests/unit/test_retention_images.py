"""Pictures that no batch refers to go by age; what is used, or was used lately, stays."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.plant import commit_round, plan, plan_bytes, row, run

from darkroom.chunks.artifacts import FRESH_S, Artifact, ArtifactKey
from darkroom.errors import NewerSchema
from darkroom.flows import STAGES
from darkroom.records import PlannedItem, Verdict
from darkroom.retention import images, old_batches
from darkroom.retention.limits import LEAST_IMAGES_DAYS
from darkroom.retention.marks import Marks
from darkroom.retention.tally import DAY_S, Tally
from darkroom.stages.base import Output, Request
from darkroom.store.batches import image_path
from darkroom.store.storage import open_store

NOW = time.time()
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 16


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path.as_uri())


def age(store, path, days_ago=40):
    os.utime(Path(store.uri(path).removeprefix("file://")), (NOW - days_ago * DAY_S,) * 2)


def put(store, name, days_ago=40, suffix="png", stage="generate"):
    path = image_path(stage, name * 20, suffix)
    store.create(path, b"x" * 10)
    age(store, path, days_ago)
    return path


def swept(store, dry_run=False, days=30):
    tally = Tally("pictures", dry_run)
    images.sweep(store, NOW - days * DAY_S, tally, Marks(1 << 12))
    return tally


def test_what_a_batch_refers_to_stays_whatever_came_of_it_and_the_rest_goes_by_age(store):
    batch = plan(store, [["a", "b"]])
    rows = [row(batch, "a"), row(batch, "b", "rejected")]
    run(batch, {"00000": rows})
    used = [store.path(one.image_uri) for one in rows]
    for path in used:
        age(store, path)
    old, young = put(store, "aa"), put(store, "bb", days_ago=20)
    tally = swept(store)
    assert set(store.list("images")) == {*used, young}
    assert not store.exists(old)
    assert (tally.count, tally.size_bytes) == (1, 10)


def test_the_details_of_a_picture_stay_as_long_as_it_does_and_verdicts_go_by_age(store):
    batch = plan(store, [["a"]])
    picture = put(store, "aa")
    details = put(store, "aa", suffix="details.json")
    put(store, "bb", suffix="details.json")
    put(store, "cc", suffix="json", stage="inspect")
    run(batch, {"00000": [row(batch, "a", picture=b"young", image_uri=store.uri(picture))]})
    young = {path for path in store.list("images") if "/aa/" not in path and "/bb/" not in path}
    swept(store)
    assert set(store.list("images")) == {picture, details, *(p for p in young if "/inspect/" not in p)}


def test_a_picture_that_a_batch_takes_from_another_stays(store):
    batch = plan(store, [["a"]], flow="B_C", batch_id="b2")
    taken = put(store, "aa")
    items = [PlannedItem(custom_id="a", seed=1, image=store.uri(taken))]
    commit_round(batch, 1, [items])
    assert swept(store).count == 0


def test_only_to_look_removes_nothing(store):
    old = put(store, "aa")
    assert swept(store, dry_run=True).count == 1
    assert store.exists(old)
    assert swept(store).count == 1


def test_pictures_of_a_batch_go_after_it(store):
    batch = plan(store, [["a"]])
    one = row(batch, "a")
    run(batch, {"00000": [one]})
    age(store, store.path(one.image_uri))
    assert swept(store).count == 0
    old_batches.mark(batch)
    old_batches.remove_marked([batch], frozenset(), Tally("batches", dry_run=False))
    assert swept(store).count == 1


def test_a_part_that_cannot_be_read_keeps_everything(store, monkeypatch):
    batch, old = plan(store, [["a"]]), put(store, "aa")
    monkeypatch.setattr("darkroom.store.tables.SCHEMA_VERSION", 99)
    store.create(f"{batch.root}/parts/generate/chunk-00000.parquet", plan_bytes([]))
    monkeypatch.undo()
    with pytest.raises(NewerSchema):
        swept(store)
    assert store.exists(old)


def test_who_uses_an_old_picture_again_writes_it_anew_so_that_it_is_not_swept(store):
    key = ArtifactKey.of(STAGES["generate"], Request("a", prompt="a red circle"))
    Artifact.create(store, key, Output(PNG, details={"words": 3}))
    for path in (key.path, key.details_path):
        age(store, path)
    assert swept(store, dry_run=True).count == 2
    found = Artifact.find(store, key)
    assert (found.data, found.details) == (PNG, {"words": 3})
    assert swept(store).count == 0
    assert store.read(key.path) == PNG


def test_a_verdict_that_is_used_again_is_written_anew_too_and_a_fresh_one_is_left(store):
    key = ArtifactKey.of(STAGES["inspect"], Request("a", image=PNG))
    Artifact.create(store, key, Output(verdict=Verdict(accepted=True, reasons=[])))
    age(store, key.path, days_ago=6)
    Artifact.find(store, key)
    assert NOW - store.stat(key.path).modified_s > 5 * DAY_S
    age(store, key.path, days_ago=8)
    Artifact.find(store, key)
    assert NOW - store.stat(key.path).modified_s < DAY_S


def test_who_used_one_while_it_was_listed_keeps_it(store, monkeypatch):
    path = put(store, "aa")
    stat = images._written_s

    def used_meanwhile(store, path):
        store.renew(path, b"x" * 10)
        return stat(store, path)

    monkeypatch.setattr(images, "_written_s", used_meanwhile)
    assert swept(store).count == 0
    assert store.exists(path)


def test_a_picture_is_fresh_for_at_most_half_of_what_it_is_kept():
    assert 2 * FRESH_S <= LEAST_IMAGES_DAYS * DAY_S


@given(st.sets(st.text(), max_size=200))
def test_marks_never_miss_what_was_added(names):
    marks = Marks(64)  # far too small: then they hold too much, never too little
    for name in names:
        marks.add(name)
    assert all(name in marks for name in names)


def test_marks_seldom_hold_what_was_not_added():
    marks = Marks(1 << 15)
    for number in range(10_000):
        marks.add(f"in{number}")
    assert sum(f"out{number}" in marks for number in range(10_000)) < 20
