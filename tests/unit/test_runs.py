"""Each chunk is taken by exactly one run of a round, and what is finished by none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.plans.planning import decide_params
from darkroom.plans.runs import child_run_id, chunks_here, shards_left, unfinished
from darkroom.store.batches import Batch, Index, chunk_id
from darkroom.store.storage import open_store


@pytest.fixture
def planned(tmp_path):
    """A committed plan of `n` chunks in runs of four, some of which are finished."""

    def make(n, finished=()):
        batch = Batch(open_store((tmp_path / "store").as_uri()), f"b{n}-{len(finished)}")
        batch.save_params(decide_params("f", "A_C", min_chunk_s=1, max_chunk_s=1, shard_chunks=4))
        index = Index(flow="A_C", chunk_ids=[chunk_id(k) for k in range(n)], sizes=[1] * n, items=n)
        for position in finished:
            batch.save_part("inspect", index.chunk_ids[position], [])
        return batch, index

    return make


@pytest.mark.parametrize("n", [0, 1, 4])
def test_a_run_takes_a_few_chunks_itself(planned, n):
    batch, index = planned(n)
    assert chunks_here(batch, index) == index.chunk_ids


def test_many_chunks_are_taken_by_shards_each_chunk_by_one(planned):
    batch, index = planned(10)
    assert chunks_here(batch, index) == []
    left = shards_left(batch, index)
    assert left == {0: 2, 1: 4, 2: 4}
    taken = [chunk for shard in left for chunk in chunks_here(batch, index, shard)]
    assert taken == index.chunk_ids


def test_a_shard_that_is_finished_is_not_run_again(planned):
    batch, index = planned(10, finished=[0, 1, 3, 9])
    assert unfinished(batch, index) == [2, 4, 5, 6, 7, 8]
    assert shards_left(batch, index) == {1: 4, 2: 4}
    assert shards_left(batch, index, after=1) == {2: 4}


def test_a_cleared_run_has_the_same_chunks_again(planned):
    batch, index = planned(10, finished=[6, 7])
    assert chunks_here(batch, index, 2) == ["00006", "00007", "00008", "00009"]
    few, all_of_them = planned(3, finished=[0, 1, 2])
    assert chunks_here(few, all_of_them) == all_of_them.chunk_ids


@pytest.mark.parametrize(
    ("run_id", "what", "name"),
    [
        ("b1", "round1", "b1__round1"),
        ("b1__round1", "round2", "b1__round2"),
        ("b1__retry1", "round1", "b1__retry1__round1"),
        ("b1__retry1__round4", "round5", "b1__retry1__round5"),
        ("b1", "shard000", "b1__shard000"),
        ("b1__round1", "shard000", "b1__round1__shard000"),
    ],
)
def test_the_name_of_a_child_tells_whose_it_is(run_id, what, name):
    assert child_run_id("b1", run_id, what) == name


@given(st.text(min_size=1, max_size=40))
def test_every_childs_name_begins_with_its_batch_and_is_the_same_on_every_try(run_id):
    name = child_run_id("b1", run_id, "shard000")
    assert name.startswith("b1__")
    assert name == child_run_id("b1", run_id, "shard000")
