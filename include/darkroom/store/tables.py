"""Parquet files of ours: explicit columns, streamed a row group at a time, refused when they are newer.

Free-form values (`options`, `metadata`, `details`, `verdict.checks`) are JSON text, so that a column has
one type whatever the items carry. pyarrow is imported inside functions: parsing the DAG folder must not
load it.
"""

import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from darkroom.errors import NewerSchema
from darkroom.records import SCHEMA_VERSION

ROWS_PER_GROUP = 4096
GROUP_BYTES = 8 << 20
"""Of free-form values, about: they may be long, and then fewer rows are held at once."""
_VERSION_KEY = b"darkroom.schema_version"


def json_text(value: Any) -> str:
    """A free-form value as a column holds it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def write_rows(file: BinaryIO, schema: Any, rows: Iterator[dict[str, Any]]) -> None:
    """Stream rows into a Parquet file, a row group at a time."""
    import pyarrow as pa  # noqa: PLC0415

    with writer_of(file, schema) as writer:
        group: list[dict[str, Any]] = []
        held = 0
        for row in rows:
            group.append(row)
            held += sum(len(value) for value in row.values() if isinstance(value, str))
            if len(group) == ROWS_PER_GROUP or held > GROUP_BYTES:
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                group, held = [], 0
        writer.write_table(pa.Table.from_pylist(group, schema=schema))


def writer_of(file: BinaryIO, schema: Any, **options: Any) -> Any:
    """A `pyarrow.parquet.ParquetWriter` of a file that says its version."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    schema = schema.with_metadata({_VERSION_KEY: str(SCHEMA_VERSION).encode()})
    return pq.ParquetWriter(file, schema, **{"compression": "zstd", **options})


def read_rows(data: bytes) -> Iterator[dict[str, Any]]:
    """The rows of a file, a row group at a time.

    Raises:
        NewerSchema: the file was written by a newer Darkroom.
    """
    for group in open_table(io.BytesIO(data)).iter_batches(batch_size=ROWS_PER_GROUP):
        yield from group.to_pylist()


def read_table(data: bytes, columns: Sequence[str] | None = None) -> Any:
    """A file as an Arrow table, or some of its columns; free-form values stay JSON text.

    Raises:
        NewerSchema: the file was written by a newer Darkroom.
    """
    import pyarrow as pa  # noqa: PLC0415

    return open_table(pa.BufferReader(data)).read(columns=columns, use_threads=False)


def as_of_now(table: Any, schema: Any, columns: Sequence[str] | None = None) -> Any:
    """A table of the version before as one of this version: the columns that it lacks are null.

    Args:
        table: as it was read.
        schema: of this version.
        columns: that were asked for; default: all.
    """
    import pyarrow as pa  # noqa: PLC0415

    names = list(columns) if columns is not None else schema.names
    if table.column_names == names:
        return table
    for name in set(names).difference(table.column_names):
        table = table.append_column(schema.field(name), pa.nulls(table.num_rows, schema.field(name).type))
    return table.select(names)


def open_table(file: Any) -> Any:
    """A file as `pyarrow.parquet.ParquetFile`.

    Raises:
        NewerSchema: the file was written by a newer Darkroom.
    """
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = pq.ParquetFile(file, pre_buffer=False)
    version = int((table.schema_arrow.metadata or {}).get(_VERSION_KEY, b"1"))
    if version > SCHEMA_VERSION:  # before any row: its columns may be unknown to this version
        raise NewerSchema(
            f"a Parquet file has schema_version {version}; this Darkroom reads up to {SCHEMA_VERSION}. "
            "Upgrade this host."
        )
    return table
