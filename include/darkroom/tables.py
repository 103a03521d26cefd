"""Plans and results as Parquet: explicit columns, made for whoever opens them in pandas or DuckDB.

Free-form values (`options`, `metadata`, `details`, `verdict.checks`) are JSON text, so that a column has
one type whatever the items carry; `verdict` and `error` are structs. Rows and file metadata carry
`schema_version`. pyarrow is imported inside functions: parsing the DAG folder must not load it.
"""

import io
import json
from collections.abc import Iterable, Iterator
from datetime import UTC
from typing import Any, BinaryIO

from darkroom.errors import NewerSchema
from darkroom.records import SCHEMA_VERSION, PlannedItem, Result

ROWS_PER_GROUP = 4096
_VERSION_KEY = b"darkroom.schema_version"


def plan_bytes(items: Iterable[PlannedItem]) -> bytes:
    """The Parquet file of one plan chunk. An `expires_at` without a time zone is taken as UTC."""
    import pyarrow as pa  # noqa: PLC0415

    schema = pa.schema(
        [
            pa.field("custom_id", pa.string(), nullable=False),
            ("prompt", pa.string()),
            ("image", pa.string()),
            pa.field("seed", pa.int64(), nullable=False),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("options", pa.string()),
            ("expires_at", pa.timestamp("us", tz="UTC")),
            ("metadata", pa.string()),
            pa.field("respin", pa.int32(), nullable=False),
            pa.field("schema_version", pa.int32(), nullable=False),
        ]
    )
    file = io.BytesIO()
    _write(file, schema, (_plan_row(item) for item in items))
    return file.getvalue()


def read_plan(data: bytes) -> list[PlannedItem]:
    """The inverse of `plan_bytes`.

    Raises:
        NewerSchema: the file was written by a newer Darkroom.
    """
    return [
        PlannedItem(
            **{name: value for name, value in row.items() if name != "schema_version"}
            | {"options": json.loads(row["options"]), "metadata": json.loads(row["metadata"])}
        )
        for row in _rows(data)
    ]


def result_bytes(results: Iterable[Result]) -> bytes:
    """The Parquet file of a part."""
    file = io.BytesIO()
    write_results(file, results)
    return file.getvalue()


def write_results(file: BinaryIO, results: Iterable[Result]) -> None:
    """Stream results into a Parquet file, a row group at a time."""
    import pyarrow as pa  # noqa: PLC0415

    verdict = pa.struct(
        [("accepted", pa.bool_()), ("reasons", pa.list_(pa.string())), ("checks", pa.string())]
    )
    schema = pa.schema(
        [
            pa.field("custom_id", pa.string(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("flow", pa.string(), nullable=False),
            ("image_uri", pa.string()),
            ("sha256", pa.string()),
            ("bytes", pa.int64()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("seed", pa.int64()),
            ("verdict", verdict),
            pa.field("attempts", pa.int32(), nullable=False),
            pa.field("seconds", pa.float64(), nullable=False),
            ("host", pa.string()),
            ("model", pa.string()),
            ("error", pa.struct([("code", pa.string()), ("message", pa.string())])),
            ("details", pa.string()),
            ("metadata", pa.string()),
            pa.field("schema_version", pa.int32(), nullable=False),
        ]
    )
    _write(file, schema, (_result_row(result) for result in results))


def read_results(data: bytes) -> Iterator[Result]:
    """The inverse of `result_bytes`, a row group at a time.

    Raises:
        NewerSchema: the file was written by a newer Darkroom.
    """
    for row in _rows(data):
        if row["verdict"] is not None:
            row["verdict"]["checks"] = json.loads(row["verdict"]["checks"])
        yield Result(**row | {"details": json.loads(row["details"]), "metadata": json.loads(row["metadata"])})


def _plan_row(item: PlannedItem) -> dict[str, Any]:
    expires_at = item.expires_at
    if expires_at is not None and expires_at.tzinfo is None:
        expires_at = expires_at.replace(tzinfo=UTC)
    return item.model_dump() | {
        "options": _json(item.options),
        "metadata": _json(item.metadata),
        "expires_at": expires_at,
        "schema_version": SCHEMA_VERSION,
    }


def _result_row(result: Result) -> dict[str, Any]:
    row = result.model_dump() | {
        "status": result.status.value,
        "details": _json(result.details),
        "metadata": _json(result.metadata),
    }
    if result.verdict is not None:
        row["verdict"]["checks"] = _json(result.verdict.checks)
    return row


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _write(file: BinaryIO, schema: Any, rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    schema = schema.with_metadata({_VERSION_KEY: str(SCHEMA_VERSION).encode()})
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        group: list[dict[str, Any]] = []
        for row in rows:
            group.append(row)
            if len(group) == ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                group = []
        writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _rows(data: bytes) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq  # noqa: PLC0415

    file = pq.ParquetFile(io.BytesIO(data))
    version = int((file.schema_arrow.metadata or {}).get(_VERSION_KEY, b"1"))
    if version > SCHEMA_VERSION:  # before any row: its columns may be unknown to this version
        raise NewerSchema(
            f"a Parquet file has schema_version {version}; this Darkroom reads up to {SCHEMA_VERSION}. "
            "Upgrade this host."
        )
    for group in file.iter_batches(batch_size=ROWS_PER_GROUP):
        yield from group.to_pylist()
