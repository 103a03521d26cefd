"""JSON lines: one object a line, UTF-8, with or without BOM, ended by LF, CRLF or the file's end."""

import json
import math
from collections.abc import Iterator
from typing import Any, BinaryIO

from darkroom.records import Item
from darkroom.sources.lines import MAX_LINE_BYTES, BadLine, Checker, Found

_BOM = b"\xef\xbb\xbf"
_LONGEST = MAX_LINE_BYTES + len(_BOM + b"\r\n") + 1
_FLAT = 60
"""A line with fewer brackets can't be nested too deeply for anybody."""


def read_jsonl(file: BinaryIO, checker: Checker) -> Iterator[Found]:
    """What each line of a file is, in its order; empty lines are skipped but counted."""
    for number, line in physical_lines(file):
        if line is not None and not line.strip():
            continue
        try:
            yield number, _item(line, checker)
        except BadLine as bad:
            yield number, bad


def physical_lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Lines with their 1-based numbers, ends kept, the BOM dropped; None for one that is too long."""
    number = 0
    while line := file.readline(_LONGEST):
        number += 1
        if number == 1:
            line = line.removeprefix(_BOM)
        if len(line) <= MAX_LINE_BYTES:
            yield number, line
            continue
        whole = line.endswith(b"\n") or len(line) < _LONGEST
        if whole and len(line.rstrip(b"\r\n")) <= MAX_LINE_BYTES:
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(MAX_LINE_BYTES)
        yield number, None


def _item(line: bytes | None, checker: Checker) -> Item:
    """The item on a line.

    Raises:
        BadLine: there is none.
    """
    # Half a surrogate pair comes only as an escape, from \ud800 to \udfff.
    surrogates = line and (b"\\ud" in line or b"\\uD" in line)
    if line and not surrogates and line.count(b"{") + line.count(b"[") < _FLAT:
        try:
            value = _PLAIN.decode(line.decode())
        except (ValueError, RecursionError):
            pass  # the long way says what it is
        else:
            if isinstance(value, dict):
                return checker.item(value, strict=True, plain=True)
    return checker.item(_object(line), strict=True)


def _object(line: bytes | None) -> dict[str, Any]:
    """The JSON object on a line.

    Raises:
        BadLine: there is none.
    """
    if line is None:
        raise BadLine(None, f"the line is longer than {MAX_LINE_BYTES:,} bytes")
    if b"\0" in line:
        raise BadLine(None, "the line holds a NUL byte; is the file UTF-16, or cut off?")
    try:
        value = json.loads(line.decode(), object_pairs_hook=_no_doubles)
    except UnicodeDecodeError as error:
        raise BadLine(None, f"not UTF-8: byte {error.start + 1} of the line") from None
    except RecursionError:
        raise BadLine(None, "nested too deeply") from None
    except ValueError as error:
        if isinstance(error, BadLine):
            raise
        raise BadLine(None, f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadLine(None, f"a JSON {type(value).__name__}, not an object")
    return value


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        doubled = next(name for name in names if names.count(name) > 1)
        raise BadLine(doubled, "the field is given twice")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


_PLAIN = json.JSONDecoder(object_pairs_hook=_no_doubles, parse_float=_finite, parse_constant=_finite)
