"""A round is planned once for who asks, whoever else asks and whenever."""

import pytest

from darkroom.batches import Batch, Index
from darkroom.planning import decide_params
from darkroom.records import PlannedItem
from darkroom.rounds import plan_round
from darkroom.storage import open_store


@pytest.fixture
def batch(tmp_path):
    batch = Batch(open_store((tmp_path / "store").as_uri()), "b1")
    batch.save_params(decide_params("f", "A", min_chunk_s=0.3, max_chunk_s=0.6))
    batch.save_index(Index(flow="A", chunk_ids=[], sizes=[], items=0))
    return batch


def items(*names):
    return [PlannedItem(custom_id=name, prompt="a picture", seed=1) for name in names]


def planned(batch, index):
    return [item.custom_id for chunk in index.chunk_ids for item in batch.plan_chunk(chunk)]


def test_the_same_asker_gets_the_same_round_again(batch):
    first = plan_round(batch, items("a", "b", "c", "d", "e"), "run1")
    assert plan_round(batch, items("other"), "run1") == first
    assert (first.round, first.asked_by, planned(batch, first)) == (1, "run1", list("abcde"))
    assert len(first.chunk_ids) > 1


def test_another_asker_gets_the_next_round(batch):
    plan_round(batch, items("a"), "run1")
    second = plan_round(batch, items("b"), "run2")
    assert (second.round, planned(batch, second)) == (2, ["b"])


def test_a_round_that_was_killed_before_its_index_is_finished_the_same(batch, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Batch, "save_index", _killed)
        plan_round(batch, items("a", "b"), "run1")
    begun = {path: batch.store.read(path) for path in batch.store.list(batch.root)}
    index = plan_round(batch, items("something", "else"), "run1")
    assert planned(batch, index) == ["a", "b"]
    after = {path: batch.store.read(path) for path in batch.store.list(batch.root)}
    assert begun.items() <= after.items()


def _killed(*_):
    raise KeyboardInterrupt


def test_who_loses_the_race_for_a_round_gets_the_next(batch, monkeypatch):
    save = Batch.save_index

    def second_is_quicker(self, index):
        if index.asked_by == "run1" and index.round == 1:
            save(self, index.model_copy(update={"asked_by": "run2"}))
        return save(self, index)

    monkeypatch.setattr(Batch, "save_index", second_is_quicker)
    index = plan_round(batch, items("a"), "run1")
    assert (index.round, index.asked_by, planned(batch, index)) == (2, "run1", ["a"])
