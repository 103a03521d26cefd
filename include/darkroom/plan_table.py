"""The table of a plan chunk: its items, as Parquet, made for whoever opens it in pandas or DuckDB."""

import io
import json
from collections.abc import Iterable
from datetime import UTC
from typing import Any

from darkroom.records import SCHEMA_VERSION, PlannedItem
from darkroom.tables import json_text, read_rows, write_rows


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
    write_rows(file, schema, (_row(item) for item in items))
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
        for row in read_rows(data)
    ]


def _row(item: PlannedItem) -> dict[str, Any]:
    expires_at = item.expires_at
    if expires_at is not None and expires_at.tzinfo is None:
        expires_at = expires_at.replace(tzinfo=UTC)
    return item.model_dump() | {
        "options": json_text(item.options),
        "metadata": json_text(item.metadata),
        "expires_at": expires_at,
        "schema_version": SCHEMA_VERSION,
    }
