"""A round is planned once for who asks, whoever else asks and whenever."""

import io

import pytest

from darkroom.plans.planning import decide_params
from darkroom.plans.rounds import plan_round
from darkroom.records import PlannedItem
from darkroom.store import storage, tables
from darkroom.store.batches import Batch, Index, round_id
from darkroom.store.storage import open_store


@pytest.fixture
def batch(tmp_path):
    batch = Batch(open_store((tmp_path / "store").as_uri()), "b1")
    batch.save_params(decide_params("f", "A", min_chunk_s=0.3, max_chunk_s=0.6))
    batch.save_index(Index(flow="A", chunk_ids=[], sizes=[], items=0))
    return batch


def left(*names):
    return lambda: iter([PlannedItem(custom_id=name, prompt="a picture", seed=1) for name in names])


def planned(batch, index):
    return [item.custom_id for chunk in index.chunk_ids for item in batch.plan_chunk(chunk)]


def test_the_same_asker_gets_the_same_round_again(batch):
    first = plan_round(batch, left("a", "b", "c", "d", "e"), "run1")
    assert plan_round(batch, left("other"), "run1") == first
    assert (first.round, first.asked_by, planned(batch, first)) == (1, "run1", list("abcde"))
    assert len(first.chunk_ids) > 1


def test_a_round_is_cut_by_what_has_been_measured_and_the_same_on_every_try(batch, monkeypatch):
    def at_most(cap):
        return lambda first: first.model_copy(update={"min_items": 1, "cap_items": cap})

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Batch, "save_index", _killed)
        plan_round(batch, left(*"abcdef"), "run1", at_most(1))
    assert plan_round(batch, left(*"abcdef"), "run1", at_most(5)).sizes == [1] * 6


def test_another_asker_gets_the_next_round(batch):
    plan_round(batch, left("a"), "run1")
    second = plan_round(batch, left("b"), "run2")
    assert (second.round, planned(batch, second)) == (2, ["b"])


def test_a_round_that_was_killed_before_its_index_is_finished_the_same(batch, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Batch, "save_index", _killed)
        plan_round(batch, left("a", "b"), "run1")
    begun = {path: batch.store.read(path) for path in batch.store.list(batch.root)}
    index = plan_round(batch, left("something", "else"), "run1")
    assert planned(batch, index) == ["a", "b"]
    after = {path: batch.store.read(path) for path in batch.store.list(batch.root)}
    assert begun.items() <= after.items()


def test_a_round_whose_asker_was_killed_is_no_draft_for_another(batch, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Batch, "save_index", _killed)
        plan_round(batch, left("undone"), "run1")
    index = plan_round(batch, left("undone", "failed"), "b1__retry1")
    assert (index.round, planned(batch, index)) == (1, ["undone", "failed"])
    again = plan_round(batch, left("failed"), "run1")  # cleared, it comes after the other
    assert (again.round, planned(batch, again)) == (2, ["failed"])


def test_a_large_round_is_cut_from_its_draft_a_group_of_rows_at_a_time(batch, monkeypatch):
    monkeypatch.setattr(tables, "GROUP_BYTES", 30)
    monkeypatch.setattr(storage, "_IN_ONE_PIECE_BYTES", 100)
    names = [f"item-{n}" for n in range(30)]
    index = plan_round(batch, left(*names), "run1")
    assert planned(batch, index) == names
    draft = batch.store.read(batch.draft_path(round_id(1, "run1")))
    assert tables.open_table(io.BytesIO(draft)).num_row_groups > 10


def _killed(*_):
    raise KeyboardInterrupt


def test_who_loses_the_race_for_a_round_gets_the_next(batch, monkeypatch):
    save = Batch.save_index

    def second_is_quicker(self, index):
        if index.asked_by == "run1" and index.round == 1:
            save(self, index.model_copy(update={"asked_by": "run2"}))
        return save(self, index)

    monkeypatch.setattr(Batch, "save_index", second_is_quicker)
    index = plan_round(batch, left("a"), "run1")
    assert (index.round, index.asked_by, planned(batch, index)) == (2, "run1", ["a"])
