"""From a source to a committed plan, and what must not be able to spoil it."""

import json

import pytest

from darkroom.batches import Batch
from darkroom.errors import BadRequest, SourceChanged
from darkroom.intake import plan_batch, plan_round
from darkroom.manifest import collect
from darkroom.planning import seed_for
from darkroom.records import Result, Status, batch_id_for
from darkroom.settings import Settings
from darkroom.sources import read as read_source
from darkroom.storage import open_store


@pytest.fixture
def batch(tmp_path):
    return Batch(open_store((tmp_path / "store").as_uri()), "b1")


@pytest.fixture
def plan(tmp_path, batch):
    """Plans the batch from lines in a file; each call replaces the file."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    settings = Settings(source_roots=[str(folder)], min_chunk_s=1.5, max_chunk_s=1.5)

    def plan_lines(lines, **params):
        path = folder / "items.jsonl"
        if lines is not None:
            path.write_text("\n".join(lines))
        return plan_batch(batch, {"flow": "A_C", "source": str(path), **params}, settings)

    plan_lines.path = folder / "items.jsonl"
    return plan_lines


def lines_of(count, prompt="a red circle on a white background"):
    return [json.dumps({"custom_id": f"i{n}", "prompt": prompt}) for n in range(count)]


def test_a_plan_holds_each_item_once_with_its_seed_fixed(plan, batch):
    own = json.dumps({"custom_id": "own", "prompt": "a red circle on a white background", "seed": 7})
    index = plan([*lines_of(30), own])
    items = [item for chunk in index.chunk_ids for item in batch.plan_chunk(chunk)]
    assert [item.custom_id for item in items] == [*(f"i{n}" for n in range(30)), "own"]
    assert items[0].seed == seed_for("b1", "i0")
    assert items[-1].seed == 7
    assert len(index.chunk_ids) > 1


def test_a_second_try_returns_the_same_plan_even_when_the_source_is_gone(plan):
    index = plan(lines_of(30))
    plan.path.unlink()
    assert plan(None) == index


def test_a_plan_killed_before_its_index_is_finished_the_same(plan, batch, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Batch, "save_index", _killed)
        plan(lines_of(30))
    begun = {path: batch.store.read(path) for path in batch.store.list(batch.root)}
    assert batch.index() is None
    index = plan(None)
    assert index.items == 30
    after = {path: batch.store.read(path) for path in batch.store.list(batch.root)}
    assert begun.items() <= after.items()


def _killed(*_):
    raise KeyboardInterrupt


def test_a_source_that_changes_while_it_is_planned_is_refused_and_nothing_is_committed(
    plan, batch, monkeypatch
):
    reads = iter([lines_of(40), lines_of(40, prompt="a blue star on a white background")])

    def read_and_change(source, flow):
        plan.path.write_text("\n".join(next(reads)))
        return read_source(source, flow)

    monkeypatch.setattr("darkroom.intake.read", read_and_change)
    with pytest.raises(SourceChanged, match="new batch_id"):
        plan(lines_of(40))
    assert batch.index() is None


def test_a_source_that_has_changed_since_a_killed_try_is_refused(plan, batch, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Batch, "save_index", _killed)
        plan(lines_of(30))
    with pytest.raises(SourceChanged):
        plan(lines_of(31))
    assert batch.index() is None


def test_a_batch_id_that_another_request_has_taken_is_refused(plan):
    plan(lines_of(3))
    with pytest.raises(BadRequest, match="taken by a different request"):
        plan(None, respins=0)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"flow": "C"}, "param flow"),
        ({"options": {"generate": {"steps": 0}}}, "options.generate: options.steps"),
        ({"options": {"enhance": {}}}, "flow A_C has no stage 'enhance'"),
        ({"respins": 99}, "param respins"),
    ],
)
def test_a_bad_param_is_refused_by_name(plan, params, told):
    with pytest.raises(BadRequest, match=told):
        plan(lines_of(1), **params)


def test_a_round_is_planned_once_whoever_asks_and_whenever(plan, batch):
    index = plan(lines_of(12), respins=2)
    for chunk in index.chunk_ids:
        rows = [
            Result(custom_id=item.custom_id, status=Status.REJECTED, flow="A_C", seed=item.seed)
            for item in batch.plan_chunk(chunk)
        ]
        batch.save_part(
            "generate", chunk, [row.model_copy(update={"status": Status.COMPLETED}) for row in rows]
        )
        batch.save_part("inspect", chunk, rows)
    collect(batch)
    first = plan_round(batch, 1)
    assert plan_round(batch, 1) == first
    again = [item for chunk in first.chunk_ids for item in batch.plan_chunk(chunk)]
    assert [(item.custom_id, item.respin) for item in again] == [(f"i{n}", 1) for n in range(12)]
    assert again[0].seed == seed_for("b1", "i0", 1)


def test_different_run_ids_make_different_batches_with_valid_names(tmp_path):
    ids = ["a b", "a/b", "a-b", "_foo", "写真", "x" * 200, "x" * 201, "manual__2026-11-21T09:00:00+00:00"]
    names = [batch_id_for(None, run_id) for run_id in ids]
    assert len(set(names)) == len(ids)
    for name in names:
        Batch(open_store(tmp_path.as_uri()), name)
    assert batch_id_for("mine", "whatever") == "mine"
    assert batch_id_for(None, "as-it-is") == "as-it-is"
