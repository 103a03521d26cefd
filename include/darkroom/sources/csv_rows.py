"""CSV as RFC 4180 has it: commas, UTF-8, a header with the fields' names, quotes around line breaks.

An empty cell is an absent field; `options` and `metadata` are JSON in a cell.
"""

import csv
import json
from collections.abc import Iterator
from itertools import chain
from typing import Any, BinaryIO

from darkroom.errors import BadRequest
from darkroom.records import Item
from darkroom.sources.jsonl_lines import physical_lines
from darkroom.sources.lines import MAX_LINE_BYTES, BadLine, Checker, Found

_JSON_COLUMNS = ("options", "metadata")


def read_csv(file: BinaryIO, checker: Checker) -> Iterator[Found]:
    """What each row of a file is, in its order; its line is the first of the row.

    A quote that is never closed swallows what follows it up to the next quote, at most 128 KiB (the
    csv module's limit of a cell): these lines are one reject, which names them. So are those of a row that is
    longer than a line may be; it is read to its end, but not held.

    Raises:
        BadRequest: the header is missing, names a column twice or one that no item has.
    """
    lines = _Lines(file)
    rows = csv.reader(lines, strict=True)
    header = _header(rows)
    while True:
        lines.begin_row()
        try:
            row = next(rows)
            if not row and not lines.too_long:  # an empty line
                continue
            fields = _fields(header, row, lines)
            plain = fields.keys().isdisjoint(_JSON_COLUMNS)
            yield lines.first, checker.item(fields, strict=False, plain=plain)
        except StopIteration:
            return
        except csv.Error as error:
            yield lines.first, BadLine(None, f"not CSV: {error}{lines.span}")
        except BadLine as bad:
            yield lines.first, bad


class _Lines:
    """Feeds the parser one line at a time and remembers which lines made the current row."""

    def __init__(self, file: BinaryIO) -> None:
        self._lines = physical_lines(file)
        self.number = 0
        self.begin_row()

    def begin_row(self) -> None:
        self.first, self.too_long, self.suspect, self._held_bytes = self.number + 1, False, False, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        if line is None:
            self.too_long = True
            return "\n"
        self._held_bytes += len(line)
        if self._held_bytes > MAX_LINE_BYTES and self.number > self.first:
            self._skip_row(line)
            raise BadLine(None, f"the row is longer than {MAX_LINE_BYTES:,} bytes{self.span}")
        self.suspect |= b"\0" in line
        try:
            return line.decode()
        except UnicodeDecodeError:
            # What is not UTF-8 becomes lone surrogates here, and `_fields` refuses the row.
            self.suspect = True
            return line.decode(errors="surrogateescape")

    def _skip_row(self, line: bytes) -> None:
        """Go to the end of a row that goes on with `line`, which begins inside of quotes."""
        inside = True
        for number, piece in chain([(self.number, line)], self._lines):
            self.number = number
            inside ^= (piece or b"").count(b'"') % 2 == 1  # a doubled quote changes nothing
            if not inside:
                return

    @property
    def span(self) -> str:
        """Which lines the row takes, where it takes several."""
        return f" (lines {self.first} to {self.number})" if self.number > self.first else ""


def _header(rows: Iterator[list[str]]) -> list[str]:
    known = ", ".join(Item.model_fields)
    try:
        header = [name.strip() for name in next(rows)]
    except StopIteration:
        raise BadRequest("the CSV file is empty; its first line must name the columns") from None
    except (csv.Error, BadLine) as error:
        raise BadRequest(f"the first line of the CSV file, which must name the columns: {error}") from None
    named = [name for name in header if name]
    unknown = [name for name in named if name not in Item.model_fields]
    if unknown or "custom_id" not in named:
        problem = f"unknown column {unknown[0][:100]!a}" if unknown else "no column custom_id"
        raise BadRequest(f"CSV header: {problem}. Columns are separated by commas; known are {known}")
    if len(set(named)) < len(named):
        raise BadRequest(f"CSV header: a column is named twice: {', '.join(named)}")
    return header


def _fields(header: list[str], row: list[str], lines: _Lines) -> dict[str, Any]:
    """The fields of a row.

    Raises:
        BadLine: it does not fit the header, or a cell can't be read.
    """
    if lines.too_long:
        raise BadLine(None, f"a line is longer than {MAX_LINE_BYTES:,} bytes")
    if len(row) != len(header):
        raise BadLine(None, f"{len(row)} cells, but the header has {len(header)}{lines.span}")
    fields: dict[str, Any] = {}
    for name, cell in zip(header, row, strict=True):
        if lines.suspect:
            _must_be_text(name, cell)
        if not cell:
            continue
        if not name:
            raise BadLine(None, "a cell under a column without a name")
        fields[name] = parse_cell(name, cell) if name in _JSON_COLUMNS else cell
    return fields


def _must_be_text(name: str, cell: str) -> None:
    if "\0" in cell:
        raise BadLine(name or None, "holds a NUL byte; is the file UTF-16, or cut off?")
    if any("\udc80" <= character <= "\udcff" for character in cell):
        raise BadLine(name or None, "not UTF-8")


def parse_cell(name: str, cell: str) -> Any:
    """The JSON in a cell.

    Raises:
        BadLine: it is none.
    """
    try:
        return json.loads(cell)
    except RecursionError:
        raise BadLine(name, "nested too deeply") from None
    except ValueError as error:
        raise BadLine(name, f"not JSON: {error}") from None
