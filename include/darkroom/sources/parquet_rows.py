"""Parquet with the columns of an item, as pandas, DuckDB or Spark write it; a null is an absent field.

`options` and `metadata` are JSON text, structs or maps; in a struct a null is an absent field, too.
"""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, BinaryIO

from darkroom.errors import BadRequest
from darkroom.records import Item
from darkroom.sources.csv_rows import parse_cell
from darkroom.sources.lines import MAX_LINE_BYTES, BadLine, Checker, Found

_TEXTS = ("custom_id", "prompt", "image")
_NUMBERS = ("seed", "width", "height")
_ROWS = 32
"""Rows that are held at once: few, as a file of 2 KB may say the same text of 1 MB in each of its rows."""
_BUFFER_BYTES = 1 << 20
"""Columns are read in pieces of this size: a row group may be larger than memory."""


def read_parquet(file: BinaryIO, checker: Checker) -> Iterator[Found]:
    """What each row of a file is, in its order; its line is its number in the file.

    Raises:
        BadRequest: it is no Parquet file, is damaged, or has a column that no item has.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    number = 0
    try:
        table = pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES)
        _must_fit(table.schema_arrow)
        for batch in table.iter_batches(batch_size=_ROWS, use_threads=False):
            names = batch.schema.names
            for row in _rows(batch):
                number += 1
                try:
                    yield number, _item(dict(zip(names, row, strict=True)), checker)
                except BadLine as bad:
                    yield number, bad
    except (pa.ArrowException, OSError) as error:
        raise BadRequest(f"no Parquet, or damaged, after row {number:,}: {error}") from error


def _must_fit(schema: Any) -> None:
    """Refuse a file whose columns are not those of an item.

    Raises:
        BadRequest: so it is; the message names the column.
    """
    known = ", ".join(Item.model_fields)
    if unknown := [name for name in schema.names if name not in Item.model_fields]:
        raise BadRequest(f"unknown column {unknown[0][:100]!a}; known are {known}")
    if "custom_id" not in schema.names:
        raise BadRequest(f"no column custom_id; known are {known}")
    if len(set(schema.names)) < len(schema.names):
        raise BadRequest(f"a column is named twice: {', '.join(schema.names)}")
    for field in schema:
        wanted = _wanted(field.name, field.type)
        if wanted:
            raise BadRequest(f"column {field.name} is {field.type}; it must be {wanted}")


def _wanted(name: str, kind: Any) -> str | None:
    """What a column must be instead; None where it will do."""
    import pyarrow as pa  # noqa: PLC0415

    is_ = pa.types
    if is_.is_dictionary(kind):
        kind = kind.value_type
    text = is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind)
    if is_.is_null(kind) or (text and name not in _NUMBERS):
        return None
    if name in _TEXTS:
        return "text"
    if name in _NUMBERS:
        return None if is_.is_integer(kind) or is_.is_floating(kind) else "a whole number"
    if name == "expires_at":
        return None if is_.is_timestamp(kind) else "a timestamp, or a time as text"
    return None if is_.is_struct(kind) or is_.is_map(kind) else "JSON text, a struct or a map"


def _rows(batch: Any) -> Iterator[tuple[Any, ...]]:
    """The rows as Python values, made one at a time; for what Python has no value, a `ValueError`."""
    return zip(*(map(_cell, column) for column in batch.columns), strict=True)


def _cell(value: Any) -> Any:
    try:
        return value.as_py(maps_as_pydicts="strict")
    except UnicodeError:
        return ValueError("not UTF-8")
    except KeyError as error:
        return ValueError(f"a key of the map is given twice: {error}")
    except ValueError as error:  # such as a time that Python has none for
        return error


def _item(row: dict[str, Any], checker: Checker) -> Item:
    """The item in a row.

    Raises:
        BadLine: there is none.
    """
    fields: dict[str, Any] = {}
    plain = True
    for name, value in row.items():
        if value is None:
            continue
        if isinstance(value, ValueError):
            raise BadLine(name, str(value))
        if isinstance(value, str):
            if "\0" in value:
                raise BadLine(name, "holds a NUL byte")
            if len(value) > MAX_LINE_BYTES:
                raise BadLine(name, f"longer than {MAX_LINE_BYTES:,} characters")
        fields[name] = value
        if name in ("options", "metadata"):
            plain = False
            fields[name] = parse_cell(name, value) if isinstance(value, str) else _object(name, value)
        elif isinstance(value, datetime):
            fields[name] = value.isoformat()
        elif isinstance(value, float):
            fields[name] = _whole(name, value)
    return checker.item(fields, strict=False, plain=plain)


def _whole(name: str, value: float) -> int:
    # pandas makes floats of integers where some are missing.
    if not value.is_integer():
        raise BadLine(name, f"{value} is not a whole number")
    return int(value)


def _object(name: str, value: Any) -> Any:
    """A struct or a map as JSON would have it.

    Raises:
        BadLine: it holds what JSON has no word for, such as bytes or a time.
    """
    made = _without_nulls(value)
    try:
        text = json.dumps(made)
    except (TypeError, ValueError) as error:
        raise BadLine(name, f"can't be JSON: {error}") from None
    if len(text) > MAX_LINE_BYTES:
        raise BadLine(name, f"longer than {MAX_LINE_BYTES:,} characters")
    return made


def _without_nulls(value: Any) -> Any:
    """Structs without the fields that are null: all rows have all fields, whether they need them or not."""
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value]
    return value
