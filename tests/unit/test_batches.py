"""Whatever is saved is read again as it was; the first to save wins; newer files are refused."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.unit.plant import plan_bytes, rejects_of, save_plan_chunk, save_rejects

from darkroom.errors import BadRequest, NewerSchema, NotPlanned
from darkroom.flows import FLOWS
from darkroom.plans.planning import decide_params
from darkroom.records import BatchRequest, ErrorInfo, PlannedItem, Reject, Result, Status, Verdict
from darkroom.store import plan_table, result_table, tables
from darkroom.store.batches import Batch, Index, chunk_id, image_path, round_id
from darkroom.store.storage import open_store

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=3)
ids = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)
seeds = st.integers(0, 2**63 - 1)
sides = st.none() | st.integers(8, 4096)
times = st.none() | st.datetimes(
    datetime(1970, 1, 1),
    datetime(2200, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)
planned_items = st.builds(
    PlannedItem,
    custom_id=ids,
    prompt=texts.filter(bool),
    image=st.none(),
    seed=seeds,
    width=sides,
    height=sides,
    options=st.dictionaries(texts, objects, max_size=2),
    expires_at=times,
    metadata=objects,
    respin=st.integers(0, 5),
)
results = st.builds(
    Result,
    custom_id=ids,
    status=st.sampled_from(Status),
    flow=st.sampled_from(list(FLOWS)),
    image_uri=st.none() | texts,
    sha256=st.none() | texts,
    bytes=st.none() | st.integers(0, 2**40),
    width=sides,
    height=sides,
    seed=st.none() | seeds,
    verdict=st.none()
    | st.builds(Verdict, accepted=st.booleans(), reasons=st.lists(texts, max_size=3), checks=objects),
    attempts=st.integers(0, 9),
    seconds=st.floats(0, 1e6),
    host=st.none() | texts,
    model=st.none() | texts,
    error=st.none() | st.builds(ErrorInfo, code=texts, message=texts),
    details=objects,
    metadata=objects,
    schema_version=st.just(1),
)


@pytest.fixture
def batch(tmp_path):
    return Batch(open_store(tmp_path.as_uri()), "b1")


@given(st.lists(planned_items, max_size=5))
def test_planned_items_come_back_as_they_were(items):
    assert plan_table.read_plan(plan_bytes(items)) == items


@given(st.lists(results, max_size=5))
def test_results_come_back_as_they_were(rows):
    assert list(result_table.read_results(result_table.result_bytes(rows))) == rows


def test_results_come_back_in_order_over_many_row_groups():
    rows = [
        Result(custom_id=str(n), status=Status.COMPLETED, flow="A") for n in range(tables.ROWS_PER_GROUP + 5)
    ]
    assert list(result_table.read_results(result_table.result_bytes(rows))) == rows


def test_a_time_without_zone_is_utc():
    item = PlannedItem(custom_id="a", prompt="x", seed=1, expires_at=datetime(2030, 1, 1, 12))
    (read,) = plan_table.read_plan(plan_bytes([item]))
    assert read.expires_at == datetime(2030, 1, 1, 12, tzinfo=UTC)


def test_a_parquet_file_opens_as_columns_a_person_can_query():
    import io

    import pyarrow.parquet as pq

    row = Result(
        custom_id="a",
        status=Status.REJECTED,
        flow="A_C",
        metadata={"album": "x"},
        verdict=Verdict(accepted=False, reasons=["blank"], checks={"nsfw": 0.1}),
    )
    table = pq.read_table(io.BytesIO(result_table.result_bytes([row])))
    assert table.schema.names == list(Result.model_fields)
    assert table["metadata"].to_pylist() == ['{"album":"x"}']
    assert table["verdict"].to_pylist() == [
        {"accepted": False, "reasons": ["blank"], "checks": '{"nsfw":0.1}'}
    ]
    assert table["schema_version"].to_pylist() == [1]
    assert table.schema.metadata[b"darkroom.schema_version"] == b"1"


def test_a_newer_file_is_refused_before_its_rows_are_looked_at(monkeypatch):
    monkeypatch.setattr(tables, "SCHEMA_VERSION", 2)
    data = result_table.result_bytes([Result(custom_id="a", status=Status.COMPLETED, flow="A")])
    monkeypatch.setattr(tables, "SCHEMA_VERSION", 1)
    with pytest.raises(NewerSchema):
        list(result_table.read_results(data))


def test_files_lie_where_the_design_says(batch):
    assert batch.request_path == "batches/b1/request.json"
    assert batch.params_path() == "batches/b1/plan/params.json"
    assert batch.plan_chunk_path("00042") == "batches/b1/plan/chunk-00042.parquet"
    assert batch.index_path() == "batches/b1/plan/index.json"
    assert batch.index_path(2) == "batches/b1/plan/index-r2.json"
    assert batch.rejects_path == "batches/b1/rejects.jsonl"
    assert batch.part_path("inspect", "r1-00000") == "batches/b1/parts/inspect/chunk-r1-00000.parquet"
    assert batch.manifest_path(3, "summary.json") == "batches/b1/manifests/0003/summary.json"
    assert image_path("generate", "abcd") == "images/generate/ab/abcd.png"
    assert image_path("generate", "abcd", "json") == "images/generate/ab/abcd.json"
    first_round = round_id(1, "b1")
    assert (first_round, round_id(1, "b1__retry1")) == ("r1-7dc96f77", "r1-631ace96")
    assert (chunk_id(42), chunk_id(0, first_round)) == ("00042", "r1-7dc96f77-00000")
    assert batch.draft_path(first_round) == "batches/b1/plan/draft-r1-7dc96f77.parquet"


@pytest.mark.parametrize("batch_id", ["", "..", "../x", "a/b", "a b", "-a", "a\n", "x" * 129])
def test_a_batch_id_that_would_lead_elsewhere_is_refused(batch, batch_id):
    with pytest.raises(BadRequest, match="batch_id"):
        Batch(batch.store, batch_id)


def test_what_is_not_there_is_told(batch):
    assert batch.index() is None
    assert batch.part("generate", "00000") is None
    for read in (batch.request, batch.params, batch.planned, lambda: batch.plan_chunk("00000")):
        with pytest.raises(NotPlanned):
            read()


def test_everything_saved_is_read_again_and_the_first_to_save_wins(batch):
    request = BatchRequest(flow="A", source="x.jsonl", batch_id="b1", options={"generate": {"steps": 8}})
    assert batch.save_request(request)
    assert not batch.save_request(request.model_copy(update={"respins": 0}))
    assert batch.request() == request

    params = decide_params("f", "A", min_chunk_s=10, max_chunk_s=900)
    assert batch.save_params(params)
    assert not batch.save_params(params)
    assert batch.params() == params

    item = PlannedItem(custom_id="a", prompt="x", seed=1)
    assert save_plan_chunk(batch, "00000", [item])
    assert not save_plan_chunk(batch, "00000", [])
    assert batch.plan_chunk("00000") == [item]

    rejects = [
        Reject(line=2, field=None, reason="line\u2028separator\u0085and\nbreaks"),
        Reject(line=3, field="x", reason="y"),
    ]
    assert save_rejects(batch, rejects)
    assert rejects_of(batch) == rejects

    index = Index(flow="A", chunk_ids=["00000"], sizes=[1], items=1, rejects=2)
    assert batch.save_index(index)
    assert not batch.save_index(index)
    assert batch.planned() == index
    assert batch.save_index(Index(round=1, flow="A", chunk_ids=[], sizes=[], items=0))

    row = Result(custom_id="a", status=Status.COMPLETED, flow="A")
    assert batch.save_part("generate", "00000", [row])
    assert not batch.save_part("generate", "00000", [])
    assert batch.part("generate", "00000") == [row]


def test_an_index_that_does_not_add_up_is_refused():
    with pytest.raises(ValidationError, match="do not fit"):
        Index(flow="A", chunk_ids=["00000"], sizes=[2], items=3)


def test_importing_batches_loads_no_pyarrow():
    code = "import sys, darkroom.store.batches, darkroom.plans.planning; sys.exit('pyarrow' in sys.modules)"
    path = {"PYTHONPATH": "include"}
    assert subprocess.run([sys.executable, "-c", code], env=path, check=False).returncode == 0
