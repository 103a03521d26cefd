"""Objects in a store are sources like files: one, or many by glob or folder; each read as a stream."""

import gzip
import io
import json

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.servers import s3_server
from tests.unit.plant import rejects_of

from darkroom.errors import BadRequest, SourceChanged, SourceNotAllowed
from darkroom.flows import FLOWS
from darkroom.plans.intake import plan_batch
from darkroom.records import Item
from darkroom.settings import Settings
from darkroom.sources import open_source, read
from darkroom.store.batches import Batch
from darkroom.store.storage import open_store

ROOT = "s3://bucket/in"


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("s3")) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        open_store.cache_clear()
        store = open_store(ROOT)
        table = io.BytesIO()
        pq.write_table(pa.table({"custom_id": ["p1", "p2"], "prompt": ["x", "x"]}), table)
        for path, data in {
            "day/1.jsonl": lines("a", "b"),
            "day/2.jsonl.gz": gzip.compress(lines("c") + b"{\n"),
            "day/3.parquet": table.getvalue(),
            "day/_SUCCESS": b"",
            "day/sub/4.csv": b"custom_id,prompt\nd,x\n",
            "days/x.jsonl": lines("other"),
            "pictures/items.jsonl": b'{"custom_id":"r","image":"a/b.png"}\n'
            b'{"custom_id":"u","image":"../../x.png"}',
            "mixed/notes.txt": b"",
        }.items():
            store.create(path, data)
        open_store("s3://bucket/secret").create("x.jsonl", lines("secret"))
        yield store
    open_store.cache_clear()


def lines(*ids):
    return "".join(json.dumps({"custom_id": custom_id, "prompt": "x"}) + "\n" for custom_id in ids).encode()


def found(uri, flow="A"):
    reading = read(open_source(uri, [ROOT]), FLOWS[flow])
    return [
        (reading.name(file), line, what.custom_id if isinstance(what, Item) else what.reason)
        for file, line, what in reading
    ]


@pytest.mark.parametrize(
    ("uri", "ids"),
    [
        ("day/1.jsonl", ["a", "b"]),
        ("day/3.parquet", ["p1", "p2"]),
        ("day/sub/4.csv", ["d"]),
        ("day/?.[jp]*", ["a", "b", "c", None, "p1", "p2"]),
        ("day", ["a", "b", "c", None, "p1", "p2", "d"]),
        ("day/", ["a", "b", "c", None, "p1", "p2", "d"]),
        ("day/**/*.csv", ["d"]),
    ],
)
def test_objects_are_read_by_name_by_glob_and_by_folder(bucket, uri, ids):
    told = [what for _, _, what in found(f"{ROOT}/{uri}")]
    assert [told[n] if i else None for n, i in enumerate(ids)] == ids
    assert len(told) == len(ids)


def test_a_reject_says_which_object(bucket):
    ((name, line, reason),) = [at for at in found(f"{ROOT}/day/*") if "not JSON" in at[2]]
    assert (name, line) == ("2.jsonl.gz", 2)
    assert reason


@pytest.mark.parametrize(
    "uri", ["s3://bucket/secret/x.jsonl", f"{ROOT}/../secret/x.jsonl", "s3://bucket/*/x.jsonl"]
)
def test_what_lies_outside_the_roots_is_refused(bucket, uri):
    with pytest.raises(SourceNotAllowed):
        open_source(uri, [ROOT])


@pytest.mark.parametrize("uri", ["missing.jsonl", "missing/*.jsonl", "missing/", "mixed/notes.txt", "mixed/"])
def test_what_is_no_source_is_a_bad_request(bucket, uri):
    with pytest.raises(BadRequest) as refused:
        open_source(f"{ROOT}/{uri}", [ROOT])
    assert not isinstance(refused.value, SourceNotAllowed)


def test_pictures_are_looked_up_beside_the_object_that_names_them(bucket):
    reading = read(open_source(f"{ROOT}/pictures/items.jsonl", [ROOT]), FLOWS["B_C"])
    (_, _, item), (_, _, reject) = reading
    assert item.image == f"{ROOT}/pictures/a/b.png"
    assert reject.field == "image"


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_an_object_that_is_replaced_while_it_is_read_is_refused(bucket, kind):
    path = f"changing/x.{kind}"
    table = io.BytesIO()
    pq.write_table(pa.table({"custom_id": ["a", "b"], "prompt": ["x", "x"]}), table)
    bucket.create(path, table.getvalue() if kind == "parquet" else lines("a", "b"))
    reading = iter(read(open_source(f"{ROOT}/{path}", [ROOT]), FLOWS["A"]))
    next(reading)
    obstore.put(bucket.backend, path, b"other")
    with pytest.raises(SourceChanged):
        list(reading)


def test_a_batch_is_planned_from_a_store_and_its_progress_told(bucket, tmp_path):
    batch = Batch(open_store(tmp_path.as_uri()), "b1")
    told = []
    index = plan_batch(
        batch,
        {"flow": "A", "source": f"{ROOT}/day/"},
        Settings(source_roots=[ROOT]),
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert (index.items, index.rejects) == (6, 1)
    assert rejects_of(batch)[0].source == "2.jsonl.gz"
    assert told[-1][0] == told[-1][1]
