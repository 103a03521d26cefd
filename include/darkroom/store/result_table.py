"""The table of results, of a part or a manifest, as Parquet; `verdict` and `error` are structs.

Free-form values (`details`, `metadata`, `verdict.checks`) are JSON text in it. Whoever passes many rows on
works on Arrow tables, or on rows as plain dicts in which that text stays text: a `Result` costs more than
all else that is done with a row.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import TracebackType
from typing import Any, BinaryIO, Self

from darkroom.records import Result
from darkroom.store.tables import ROWS_PER_GROUP, json_text, open_table, writer_of

Row = dict[str, Any]
"""A row as the table has it: free-form values are JSON text."""


@cache
def schema() -> Any:
    """The columns, those of `Result` in the same order."""
    import pyarrow as pa  # noqa: PLC0415

    verdict = pa.struct(
        [("accepted", pa.bool_()), ("reasons", pa.list_(pa.string())), ("checks", pa.string())]
    )
    return pa.schema(
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


def result_bytes(results: Iterable[Result]) -> bytes:
    """The Parquet file of a part."""
    return table_bytes(table_of([row_of(result) for result in results]))


def table_bytes(table: Any) -> bytes:
    """The same from an Arrow table. Of the ways to write it, the one that is read fastest.

    Parts are small and read by the thousands: opening the dictionaries and zstd streams of twenty columns
    costs four times what the rows themselves do.
    """
    file = io.BytesIO()
    with writer_of(file, schema(), compression="lz4", use_dictionary=False) as writer:
        writer.write_table(table, row_group_size=ROWS_PER_GROUP)
    return file.getvalue()


def read_results(file: bytes | BinaryIO) -> Iterator[Result]:
    """The inverse of `result_bytes`, a row group at a time.

    Raises:
        NewerSchema: the file was written by a newer Darkroom.
    """
    for batch in open_table(io.BytesIO(file) if isinstance(file, bytes) else file).iter_batches(
        batch_size=ROWS_PER_GROUP
    ):
        yield from map(result_of, batch.to_pylist())


def row_of(result: Result) -> Row:
    """A result as a row."""
    row = result.model_dump() | {
        "status": result.status.value,
        "details": json_text(result.details),
        "metadata": json_text(result.metadata),
    }
    if result.verdict is not None:
        row["verdict"]["checks"] = json_text(result.verdict.checks)
    return row


def result_of(row: Mapping[str, Any]) -> Result:
    """The inverse of `row_of`."""
    free = {"details": json.loads(row["details"]), "metadata": json.loads(row["metadata"])}
    if row["verdict"] is not None:
        free["verdict"] = row["verdict"] | {"checks": json.loads(row["verdict"]["checks"])}
    return Result(**{**row, **free})


def table_of(rows: Sequence[Row]) -> Any:
    """Rows as an Arrow table."""
    import pyarrow as pa  # noqa: PLC0415

    return pa.Table.from_pylist(rows, schema=schema())


def replaced(table: Any, rows: Mapping[int, Row]) -> Any:
    """The Arrow table with other rows at some positions."""
    import pyarrow as pa  # noqa: PLC0415

    if not rows:
        return table
    positions = sorted(rows)
    others = table_of([rows[position] for position in positions])
    pieces, begin = [], 0
    for place, position in enumerate(positions):
        pieces += [table.slice(begin, position - begin), others.slice(place, 1)]
        begin = position + 1
    return pa.concat_tables([*pieces, table.slice(begin)])  # copies nothing


class ResultWriter:
    """Streams Arrow tables of any size into a Parquet file of even row groups."""

    def __init__(self, file: BinaryIO) -> None:
        self._writer = writer_of(file, schema())
        self._waiting: list[Any] = []
        self._rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush(self._rows)
        self._writer.close()

    def write(self, table: Any) -> None:
        """Append the rows of `table`."""
        self._waiting.append(table)
        self._rows += table.num_rows
        if self._rows >= ROWS_PER_GROUP:
            self._flush(self._rows // ROWS_PER_GROUP * ROWS_PER_GROUP)

    def _flush(self, n_rows: int) -> None:
        import pyarrow as pa  # noqa: PLC0415

        table = pa.concat_tables([schema().empty_table(), *self._waiting])
        self._writer.write_table(table.slice(0, n_rows), row_group_size=ROWS_PER_GROUP)
        self._waiting = [table.slice(n_rows)]
        self._rows -= n_rows


def json_lines(table: Any) -> list[str]:
    """One JSON object a row, each with its newline: the same text as `batches.json_line` of its result.

    Only LF ends a line; U+2028 and its like stay inside strings.
    """
    columns = [_ENCODERS.get(name, _text)(table[name].to_pylist()) for name in table.column_names]
    template = "{" + ",".join(f'"{name}":%s' for name in table.column_names) + "}\n"
    return [template % values for values in zip(*columns, strict=True)]


_quote = json.encoder.encode_basestring
_Encoder = Callable[[list[Any]], list[str]]


def _text(values: list[Any]) -> list[str]:
    return ["null" if value is None else _quote(value) for value in values]


def _number(values: list[Any]) -> list[str]:
    return ["null" if value is None else repr(value) for value in values]


def _json(values: list[Any]) -> list[str]:
    return values


def _verdict(values: list[Any]) -> list[str]:
    return ["null" if value is None else _verdict_json(value) for value in values]


def _verdict_json(verdict: Row) -> str:
    accepted = "true" if verdict["accepted"] else "false"
    reasons = ",".join(map(_quote, verdict["reasons"]))
    return f'{{"accepted":{accepted},"reasons":[{reasons}],"checks":{verdict["checks"]}}}'


def _record(values: list[Any]) -> list[str]:
    return ["null" if value is None else json_text(value) for value in values]


_ENCODERS: dict[str, _Encoder] = {
    **dict.fromkeys(("bytes", "width", "height", "seed", "attempts", "seconds", "schema_version"), _number),
    **dict.fromkeys(("details", "metadata"), _json),
    "verdict": _verdict,
    "error": _record,
}
"""How a column is told in JSON, where it is no text."""
