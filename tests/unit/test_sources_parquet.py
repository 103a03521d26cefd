"""Parquet rows say the same as JSON lines; a file that is none, or has other columns, is refused."""

import json
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.errors import BadRequest
from darkroom.flows import FLOWS
from darkroom.records import Item
from darkroom.sources import open_source, read
from darkroom.sources.lines import MAX_LINE_BYTES

ROWS = [
    {
        "custom_id": "ü",
        "prompt": "写真\u2028",
        "seed": 2**63 - 1,
        "width": 64,
        "options": {"generate": {"steps": 4}},
        "expires_at": "2030-01-01T00:00:00Z",
        "metadata": {"a": {"b": ["x"]}},
    },
    {"custom_id": "b", "prompt": "x"},
]


@pytest.fixture
def write(tmp_path):
    def write_and_read(table, **how):
        path = tmp_path / "x.parquet"
        pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **how)
        return [line for _, _, line in read(open_source("x.parquet", [str(tmp_path)]), FLOWS["A"])]

    return write_and_read


@pytest.fixture
def as_jsonl(tmp_path):
    (tmp_path / "x.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return [line for _, _, line in read(open_source("x.jsonl", [str(tmp_path)]), FLOWS["A"])]


def test_json_text_and_structs_say_the_same_as_jsonl(write, as_jsonl):
    texts = [
        row | {name: json.dumps(row[name]) for name in ("options", "metadata") if name in row} for row in ROWS
    ]
    times = [
        row | ({"expires_at": datetime(2030, 1, 1, tzinfo=UTC)} if "seed" in row else {}) for row in ROWS
    ]
    for rows in (ROWS, texts, times):
        columns = {name: [row.get(name) for row in rows] for name in ROWS[0]}
        assert write(columns) == as_jsonl


def test_other_types_of_text_and_number_will_do(write):
    lines = write(
        {
            "custom_id": pa.array(["a", "b"], pa.large_string()),
            "prompt": pa.array(["x", "x"]).dictionary_encode(),
            "image": pa.nulls(2),
            "seed": pa.array([7.0, None]),  # as pandas has whole numbers where some are missing
            "width": pa.array([64, None], pa.uint16()),
            "metadata": pa.array([[("k", "v")], []], pa.map_(pa.string(), pa.string())),
        }
    )
    assert lines == [
        Item(custom_id="a", prompt="x", seed=7, width=64, metadata={"k": "v"}),
        Item(custom_id="b", prompt="x"),
    ]
    twice = pa.array([[("k", "v"), ("k", "w")]], pa.map_(pa.string(), pa.string()))
    (reject,) = write({"custom_id": ["a"], "prompt": ["x"], "metadata": twice})
    assert reject.field == "metadata"


@pytest.mark.parametrize("as_categories", [True, False])
def test_one_long_text_in_every_row_is_not_held_for_all_of_them(write, tmp_path, as_categories):
    long = pa.array(["y" * MAX_LINE_BYTES])
    same = pa.DictionaryArray.from_arrays(pa.array([0] * 256, pa.int32()), long)
    table = {"custom_id": same, "prompt": same, "metadata": pa.StructArray.from_arrays([same], ["note"])}
    before = pa.default_memory_pool().max_memory()
    tracemalloc.start()
    rejects = write(table, compression="zstd", store_schema=as_categories)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (tmp_path / "x.parquet").stat().st_size < 5_000
    assert {reject.field for reject in rejects} == {"metadata"}
    assert peak_bytes < 50 * MAX_LINE_BYTES
    assert pa.default_memory_pool().max_memory() - before < 200 * MAX_LINE_BYTES


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"custom_id": ["a"], "promt": ["x"]}, "unknown column 'promt'; known are custom_id, prompt"),
        ({"prompt": ["x"]}, "no column custom_id"),
        ({"custom_id": [7], "prompt": ["x"]}, "column custom_id is int64; it must be text"),
        ({"custom_id": [b"a"], "prompt": ["x"]}, "column custom_id is binary"),
        ({"custom_id": ["a"], "seed": ["5"]}, "column seed is string; it must be a whole number"),
        ({"custom_id": ["a"], "seed": [Decimal(5)]}, "column seed is decimal"),
        ({"custom_id": ["a"], "expires_at": [5]}, "column expires_at is int64"),
        ({"custom_id": ["a"], "metadata": [[1]]}, "column metadata is list"),
    ],
)
def test_a_column_that_no_item_has_is_refused_as_a_whole(write, columns, told):
    with pytest.raises(BadRequest, match=rf"x\.parquet: .*{told}"):
        write(columns)


def test_bad_rows_are_rejects_with_their_number(write):
    prompts = pa.array([b"x", b"\xff", b"a\0", b"", None, b"x", b"x"]).view(pa.string())
    lines = write(
        {
            "custom_id": ["a", "b", "c", "d", "e", None, "g"],
            "prompt": prompts,
            "seed": [1, 2, 3, 4, 5, 6, 1.5],
        }
    )
    assert lines[0] == Item(custom_id="a", prompt="x", seed=1)
    assert [(line.line, line.field) for line in lines[1:]] == [
        (2, "prompt"),
        (3, "prompt"),
        (4, "prompt"),
        (5, None),
        (6, "custom_id"),
        (7, "seed"),
    ]
    assert [line.reason for line in lines[1:3]] == ["not UTF-8", "holds a NUL byte"]


@pytest.mark.parametrize("rows_per_group", [1, 999, 100_000])
def test_rows_keep_their_order_over_groups(write, rows_per_group):
    ids = [f"i{n}" for n in range(5000)]
    table = {"custom_id": ids, "prompt": ["x"] * 5000}
    assert [line.custom_id for line in write(table, row_group_size=rows_per_group)] == ids


def test_a_file_that_is_none_or_damaged_is_refused(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(
        pa.table({"custom_id": [f"i{n}" for n in range(5000)], "prompt": ["x"] * 5000}),
        path,
        compression="zstd",
        use_dictionary=False,
    )
    whole = path.read_bytes()
    damaged = whole[:200] + bytes(2000) + whole[2200:]
    for data in (b"", b"PAR1", b'{"custom_id":"a"}', whole[:-1], whole[: len(whole) // 2], damaged):
        path.write_bytes(data)
        with pytest.raises(BadRequest, match=r"x\.parquet: no Parquet, or damaged, after row"):
            list(read(open_source("x.parquet", [str(tmp_path)]), FLOWS["A"]))
