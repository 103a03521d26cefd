"""Old batches go whole, those that anybody works on stay, and who begins with one meanwhile begins anew."""

import ast
import os
import time
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException
from tests.servers import s3_server
from tests.unit.plant import plan, row, run

from darkroom.orchestration import tasks
from darkroom.results.manifest import collect
from darkroom.retention import old_batches, removal
from darkroom.retention.tally import DAY_S, Tally
from darkroom.settings import REPOSITORY, settings
from darkroom.store.batches import Batch
from darkroom.store.storage import open_store

NOW = time.time()
BEFORE_S = NOW - 30 * DAY_S


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path.as_uri())


def made(store, batch_id, days_ago):
    """A batch with a manifest, all of whose files are that old."""
    batch = plan(store, [["a", "b"]], rejects=1, batch_id=batch_id)
    run(batch, {"00000": [row(batch, "a"), row(batch, "b")]})
    collect(batch)
    age(store, batch.root, days_ago)
    return batch


def age(store, folder, days_ago):
    for path in store.list(folder):
        file = Path(store.uri(path).removeprefix("file://"))
        os.utime(file, (NOW - days_ago * DAY_S,) * 2)


def found(store):
    return [old.batch.batch_id for old in old_batches.find(store, BEFORE_S)]


def removed(store, live=()):
    tally = Tally("batches", dry_run=False)
    old_batches.remove_marked(old_batches.marked(store), frozenset(live), tally)
    return tally


def test_a_batch_is_as_old_as_its_newest_file(store):
    made(store, "old", 40)
    made(store, "young", 20)
    again = made(store, "again", 40)
    store.create(again.manifest_path(2, "summary.json"), b"{}")
    assert found(store) == ["old"]


def test_an_old_batch_goes_whole_and_leaves_no_folder(store, tmp_path):
    batch, other = made(store, "old", 40), made(store, "young", 20)
    files = {path: store.read(path) for path in store.list(other.root)}
    old_batches.mark(batch)
    tally = removed(store)
    assert not list(store.list(batch.root)) and not (tmp_path / batch.root).exists()
    assert {path: store.read(path) for path in store.list(other.root)} == files
    assert not list(store.list("deleting"))
    assert tally.count == 1 and tally.size_bytes > 1000 and tally.oldest_s < BEFORE_S
    assert list(store.list("images"))  # they belong to all batches


def test_a_batch_with_a_run_that_has_not_ended_stays_and_may_go_on(store):
    batch = made(store, "lives", 40)
    old_batches.mark(batch)
    assert batch.is_going()
    tally = removed(store, live=["lives"])
    assert tally.count == 0 and "lives is kept" in tally.notes[0]
    assert batch.index() is not None and not batch.is_going()


def test_what_a_crash_left_half_removed_goes_for_good_though_a_run_waits_for_it(store):
    batch = made(store, "half", 40)
    old_batches.mark(batch)
    store.create_json("deleting/begun/half", {})
    removal.remove(store, [batch.index_path()])
    assert [one.batch_id for one in old_batches.marked(store)] == ["half"]
    assert removed(store, live=["half"]).count == 1
    assert not list(store.list(batch.root)) and not batch.is_going()


@pytest.mark.parametrize("begin", [tasks.admit, tasks.take_chunks])
def test_a_run_that_begins_meanwhile_is_put_back_and_then_begins_anew(store, monkeypatch, request, begin):
    batch = made(store, "b1", 40)
    old_batches.mark(batch)
    context = {"params": {"batch_id": "b1"}, "run_id": "b1"}
    monkeypatch.setattr(tasks, "get_current_context", lambda: context)
    monkeypatch.setenv("DARKROOM_STORE", store.url)
    settings.cache_clear()
    request.addfinalizer(settings.cache_clear)
    with pytest.raises(AirflowRescheduleException):
        begin()
    removed(store)
    assert Batch(store, "b1").index() is None and not batch.exists()
    assert plan(store, [["c"]]).planned().items == 1


def test_who_comes_late_with_an_old_answer_removes_nothing_that_has_begun_anew(store):
    batch = made(store, "b1", 40)
    old_batches.mark(batch)
    late = old_batches.marked(store)
    removed(store)
    plan(store, [["c"]])
    old_batches.remove_marked(late, frozenset(), Tally("batches", dry_run=False))
    assert batch.planned().items == 1


def test_a_folder_of_somebody_else_is_left_alone(store, tmp_path):
    theirs = tmp_path / "batches" / "not a batch" / "file"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("x")
    age(store, "batches", 90)
    assert found(store) == []
    assert theirs.exists()


def test_what_is_gone_already_is_no_error(store):
    store.create("batches/b/1", b"x")
    removal.remove(store, ["batches/b/0", "batches/b/1", "batches/b/2"])
    assert not list(store.list("batches"))


def test_it_goes_from_an_object_store_too(tmp_path, monkeypatch):
    with s3_server(tmp_path) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        store = open_store("s3://bucket/batches-test")
        batch = plan(store, [["a"]], batch_id="old")
        run(batch, {"00000": [row(batch, "a")]})
        assert [old.batch.batch_id for old in old_batches.find(store, time.time() + DAY_S)] == ["old"]
        old_batches.mark(batch)
        assert removed(store).count == 1
        assert not list(store.list("batches")) and list(store.list("images"))


def test_nothing_but_housekeeping_removes_from_the_store():
    """The functions are kept apart by import-linter; this is for the library under them."""
    users = {
        path.name
        for path in (REPOSITORY / "include").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node).startswith("obstore.delete")
    }
    assert users == {"removal.py"}
