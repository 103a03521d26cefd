"""The table of results, of a part or a manifest, as Parquet; `verdict` and `error` are structs."""

import io
import json
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from darkroom.records import Result
from darkroom.tables import json_text, read_rows, write_rows


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
    write_rows(file, schema, (_row(result) for result in results))


def read_results(data: bytes) -> Iterator[Result]:
    """The inverse of `result_bytes`, a row group at a time.

    Raises:
        NewerSchema: the file was written by a newer Darkroom.
    """
    for row in read_rows(data):
        if row["verdict"] is not None:
            row["verdict"]["checks"] = json.loads(row["verdict"]["checks"])
        yield Result(**row | {"details": json.loads(row["details"]), "metadata": json.loads(row["metadata"])})


def _row(result: Result) -> dict[str, Any]:
    row = result.model_dump() | {
        "status": result.status.value,
        "details": json_text(result.details),
        "metadata": json_text(result.metadata),
    }
    if result.verdict is not None:
        row["verdict"]["checks"] = json_text(result.verdict.checks)
    return row
