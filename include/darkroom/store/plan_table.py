"""The table of a plan chunk: its items, as Parquet, made for whoever opens it in pandas or DuckDB."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC
from functools import cache
from typing import Any, BinaryIO

from darkroom.records import SCHEMA_VERSION, PlannedItem
from darkroom.store.tables import ROWS_PER_GROUP, json_text, read_rows, write_rows, writer_of


@cache
def plan_schema() -> Any:
    """The columns of a plan chunk, as an Arrow schema."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.schema(
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


def write_plan(file: BinaryIO, items: Iterable[PlannedItem]) -> None:
    """Stream items into a Parquet file. An `expires_at` without a time zone is taken as UTC."""
    write_rows(file, plan_schema(), (_row(item) for item in items))


def cut(batches: Iterable[Any], sizes: Iterable[int]) -> Iterator[bytes]:
    """Plan chunks of these sizes, as files, from Arrow batches that have the columns of a plan, or more."""
    import pyarrow as pa  # noqa: PLC0415

    following = iter(batches)
    rest: list[Any] = []
    held = 0
    for size in sizes:
        while held < size:
            batch = next(following).select(plan_schema().names)
            held += batch.num_rows
            rest.append(batch)
        table = pa.Table.from_batches(rest, schema=plan_schema())
        yield _table_bytes(table.slice(0, size))
        held -= size
        rest = table.slice(size).to_batches()


def _table_bytes(table: Any) -> bytes:
    file = io.BytesIO()
    with writer_of(file, plan_schema()) as writer:
        writer.write_table(table, row_group_size=ROWS_PER_GROUP)
    return file.getvalue()


def read_plan(data: bytes) -> list[PlannedItem]:
    """The inverse of `write_plan`.

    Raises:
        NewerSchema: the file was written by a newer Darkroom.
    """
    return [planned_item(row) for row in read_rows(data)]


def planned_item(row: Mapping[str, Any]) -> PlannedItem:
    """A row of the table as an item."""
    return PlannedItem(
        **{name: value for name, value in row.items() if name != "schema_version"}
        | {"options": json.loads(row["options"]), "metadata": json.loads(row["metadata"])}
    )


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
