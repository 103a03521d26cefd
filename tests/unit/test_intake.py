"""From a source to a committed plan, and what must not be able to spoil it."""

import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.plant import leftovers, rejects_of, save_plan_chunk

from darkroom.errors import BadRequest, SourceChanged
from darkroom.plans.intake import plan_batch, run_terms
from darkroom.plans.planning import seed_for
from darkroom.plans.rounds import plan_round
from darkroom.plans.spool import ItemSpool
from darkroom.records import Item, PlannedItem, Result, Status, batch_id_for
from darkroom.results.manifest import collect
from darkroom.settings import Settings
from darkroom.store.batches import Batch
from darkroom.store.plan_table import read_plan
from darkroom.store.storage import open_store


@pytest.fixture
def batch(tmp_path):
    return Batch(open_store((tmp_path / "store").as_uri()), "b1")


@pytest.fixture
def plan(tmp_path, batch):
    """Plans the batch from lines in a file; each call replaces the file."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    settings = Settings(source_roots=[str(folder)], min_chunk_s=1.5, max_chunk_s=1.5)

    def plan_lines(lines, on_progress=None, **params):
        path = folder / "items.jsonl"
        if lines is not None:
            path.write_text("\n".join(lines))
        return plan_batch(
            batch, {"flow": "A_C", "source": str(path), **params}, settings, on_progress=on_progress
        )

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


def test_a_source_that_changes_while_it_is_planned_is_refused_and_nothing_is_committed(plan, batch):
    def change(read_bytes, total_bytes):
        plan.path.write_text("\n".join(lines_of(40, prompt="a blue star on a white background")))

    with pytest.raises(SourceChanged, match="while it was read"):
        plan(lines_of(40), on_progress=change)
    assert list(batch.store.list(batch.root)) == [batch.request_path]
    assert plan(None).items == 40  # nobody writes to it any more


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
    first = plan_round(batch, lambda: leftovers(batch), "run1")
    assert plan_round(batch, lambda: leftovers(batch), "run1") == first
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


def test_a_doubled_id_is_a_reject_in_its_place_but_one_that_was_refused_is_free(plan, batch):
    good, refused = lines_of(2)[0], '{"custom_id":"i1"}'
    index = plan([good, refused, good, *lines_of(5000), refused])
    assert index.items == 5000
    assert [(reject.line, reject.custom_id) for reject in rejects_of(batch)] == [
        (2, "i1"),
        (3, "i0"),
        (4, "i0"),
        (5004, "i1"),
    ]
    assert "the first line with it counts" in rejects_of(batch)[1].reason
    items = [item.custom_id for chunk in index.chunk_ids for item in batch.plan_chunk(chunk)]
    assert items == [f"i{n}" for n in range(5000)]
    assert [len(batch.plan_chunk(chunk)) for chunk in index.chunk_ids] == index.sizes


@given(st.lists(st.integers(0, 9), max_size=30), st.lists(st.integers(1, 7), max_size=30))
def test_a_spool_gives_back_the_first_of_each_id_in_order_and_names_the_others(numbers, sizes):
    with tempfile.TemporaryDirectory() as folder:
        spool = ItemSpool(Path(folder) / "items", "b1")
        for line, number in enumerate(numbers, start=1):
            spool.add(0, line, Item(custom_id=str(number), prompt="x"))
        spool.close()
        firsts = list(dict.fromkeys(map(str, numbers)))
        later = [(0, n + 1, str(i)) for n, i in enumerate(numbers) if i in numbers[:n]]
        assert (spool.items, list(spool.doubles())) == (len(firsts), later)
        cut, left = [], len(firsts)
        for size in [*sizes, left]:
            cut.append(min(size, left))
            left -= cut[-1]
        assert sum(cut) == len(firsts) or left
        chunks = [read_plan(chunk) for chunk in spool.cut(cut)]
        assert [len(chunk) for chunk in chunks] == cut
        assert [item.custom_id for chunk in chunks for item in chunk] == firsts[: sum(cut)]


def test_every_field_of_an_item_reads_back_from_its_chunk(plan, batch):
    full = {
        "custom_id": "ü\u2028",
        "prompt": "写真",
        "seed": 2**63 - 1,
        "width": 64,
        "height": 128,
        "options": {"generate": {"steps": 4}},
        "expires_at": "2030-01-01T02:00:00+02:00",
        "metadata": {"a": [1, {"b": None}], "ü": "\u2029"},
    }
    index = plan(
        [json.dumps(full, ensure_ascii=False), '{"custom_id":"b","prompt":"x","metadata":{"a":1e3}}']
    )
    one, two = (item for chunk in index.chunk_ids for item in batch.plan_chunk(chunk))
    assert one == PlannedItem(**full)
    assert two == PlannedItem(custom_id="b", prompt="x", seed=seed_for("b1", "b"), metadata={"a": 1000.0})


def test_reading_tells_how_far_it_is(plan):
    told = []
    plan(lines_of(40_000), on_progress=lambda done, total: told.append((done, total)))
    size = plan.path.stat().st_size
    assert told == sorted(told)
    assert told[-1] == (size, size)
    assert len(told) > 2


def test_measured_rates_and_servers_decide_the_cuts(tmp_path, batch):
    (tmp_path / "x.jsonl").write_text("\n".join(lines_of(100)))
    settings = Settings(source_roots=[str(tmp_path)], min_chunk_s=1, max_chunk_s=100)
    rates, servers = {"generate": 10.0, "inspect": 1.0}, {"generate": 3}
    plan_batch(
        batch, {"flow": "A_C", "source": str(tmp_path / "x.jsonl")}, settings, rates=rates, servers=servers
    )
    params = batch.params()
    assert (params.seconds_per_item, params.servers, params.cap_items) == (10.0, 3, 10)


def test_a_chunk_that_other_hands_put_there_is_not_taken_for_ours(plan, batch):
    other = [PlannedItem(custom_id="other", prompt="x", seed=1)]
    save_plan_chunk(batch, "00000", other)
    with pytest.raises(SourceChanged):
        plan(lines_of(30))
    assert batch.index() is None


def test_times_with_and_without_a_zone_are_kept_as_one_and_the_same_instant(plan, batch):
    times = ["2030-01-01T00:00:00", "2030-01-01T00:00:00Z", "2030-01-01T02:00:00+02:00"]
    rows = [json.dumps({"custom_id": f"i{n}", "prompt": "x", "expires_at": at}) for n, at in enumerate(times)]
    index = plan(rows)
    items = [item for chunk in index.chunk_ids for item in batch.plan_chunk(chunk)]
    assert {item.expires_at for item in items} == {datetime(2030, 1, 1, tzinfo=UTC)}


def test_rejects_that_are_too_many_for_one_piece_are_the_same(plan, batch, monkeypatch):
    monkeypatch.setattr("darkroom.store.storage._IN_ONE_PIECE_BYTES", 0)
    index = plan(["{", *lines_of(2), "["])
    assert index.rejects == 2
    assert [reject.line for reject in rejects_of(batch)] == [1, 4]


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"not_before": "2030-01-01T00:00:00"}, "not_before: .*timezone"),
        ({"deadline": "soon"}, "deadline: "),
        ({"not_before": "2030-01-02T00:00Z", "deadline": "2030-01-01T00:00Z"}, "deadline is not after"),
        ({"cancel_at_deadline": True}, "without a deadline"),
        ({"callback_url": ""}, "callback_url: "),
    ],
)
def test_terms_of_a_run_that_make_no_sense_are_refused_by_name(params, told):
    with pytest.raises(BadRequest, match=told):
        run_terms(params)


def test_a_batch_started_again_on_other_terms_is_the_same_batch(plan):
    index = plan(lines_of(3))
    later = {"deadline": "2030-01-01T00:00Z", "not_before": None, "callback_url": "https://a.example/"}
    assert plan(None, **later, cancel_at_deadline=True, retry=True) == index
