"""What a source held, on local disk: read once, judged at its end, then cut into chunks.

Doubles are known only when all lines have been read; until then every accepted item waits here, in Arrow's
format, and every reject as a line of JSON. In memory are 16 bytes an item: a digest of its `custom_id`.
"""

import hashlib
import heapq
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from darkroom.plans.planning import seed_for
from darkroom.records import SCHEMA_VERSION, Item, Reject
from darkroom.store.batches import json_line
from darkroom.store.plan_table import cut, plan_schema
from darkroom.store.tables import GROUP_BYTES, ROWS_PER_GROUP, json_text

_DIGEST_BYTES = 16
_PLACE = [pa.field("file", pa.int32()), pa.field("line", pa.int64())]

Double = tuple[int, int, str]
"""File, line and `custom_id` of a line whose id an earlier one has."""


class ItemSpool:
    """The accepted items of a source, as rows of a plan, in its order."""

    def __init__(self, path: Path, batch_id: str) -> None:
        """Keep them in the file `path`; `batch_id` decides the seeds of those that bring none."""
        self._path, self._batch_id = path, batch_id
        self._schema = pa.schema([*plan_schema(), *_PLACE])
        self._writer = pa.ipc.new_stream(
            str(path), self._schema, options=pa.ipc.IpcWriteOptions(compression="lz4")
        )
        self._rows: list[tuple[Any, ...]] = []
        self._rows_bytes = 0
        self._digests = bytearray()
        self._doubled: Any = None
        self.items = 0
        """How many there are; after `close` without doubles."""

    def add(self, file: int, line: int, item: Item) -> None:
        """Keep the next one."""
        options = json_text(item.options) if item.options else "{}"
        metadata = json_text(item.metadata) if item.metadata else "{}"
        seed = seed_for(self._batch_id, item.custom_id) if item.seed is None else item.seed
        self._rows.append(
            (item.custom_id, item.prompt, item.image, seed, item.width, item.height, options,
             item.expires_at, metadata, file, line)
        )  # fmt: skip
        digest = hashlib.blake2b(item.custom_id.encode(), digest_size=_DIGEST_BYTES)
        self._digests += digest.digest()
        self._rows_bytes += len(options) + len(metadata)
        if len(self._rows) == ROWS_PER_GROUP or self._rows_bytes > GROUP_BYTES:
            self._write()

    def close(self) -> None:
        """No more will come: find the doubles."""
        self._write()
        self._writer.close()
        self._doubled = _later_ones(self._digests)
        self._digests = bytearray()
        self.items = len(self._doubled) - int(self._doubled.sum())

    def doubles(self) -> Iterator[Double]:
        """The lines whose `custom_id` an earlier one has, in their order; they are no items."""
        if not self._doubled.any():
            return
        for batch in self._batches(self._doubled):
            yield from zip(*(batch[name].to_pylist() for name in ("file", "line", "custom_id")), strict=True)

    def cut(self, sizes: Iterable[int]) -> Iterator[bytes]:
        """The items as the files of plan chunks of these sizes."""
        return cut(self._batches(~self._doubled), sizes)

    def _write(self) -> None:
        if not self._rows:
            return
        *columns, files, lines = zip(*self._rows, strict=True)
        fixed = [[0] * len(files), [SCHEMA_VERSION] * len(files)]  # respin, schema_version
        arrays = [
            pa.array(column, field.type)
            for column, field in zip([*columns, *fixed, files, lines], self._schema, strict=True)
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        self._rows, self._rows_bytes = [], 0

    def _batches(self, wanted: Any) -> Iterator[Any]:
        """The rows that the mask `wanted` has, as they were written."""
        begin = 0
        # Not mapped into memory: pages of a map count as this process's own.
        with pa.OSFile(str(self._path)) as file, pa.ipc.open_stream(file) as reader:
            for batch in reader:
                mask = wanted[begin : begin + batch.num_rows]
                begin += batch.num_rows
                yield batch if mask.all() else batch.filter(pa.array(mask))


def _later_ones(digests: bytearray) -> Any:
    """For each digest whether an equal one stands before it, as an array of booleans."""
    halves = np.frombuffer(digests, dtype=[("high", "<u8"), ("low", "<u8")])
    order = np.lexsort((halves["low"], halves["high"]))  # stable: equal ones keep their order
    ordered = halves[order]
    later = np.zeros(len(halves), dtype=bool)
    later[order[1:][ordered[1:] == ordered[:-1]]] = True
    return later


class RejectSpool:
    """The rejects of a source, as lines of JSON, in its order."""

    def __init__(self, path: Path) -> None:
        """Keep them in the file `path`."""
        self._path = path
        self._file: BinaryIO = path.open("wb")
        self._places = array("q")
        self.rejects = 0
        """How many there are."""

    def add(self, file: int, line: int, reject: Reject) -> None:
        """Keep the next one."""
        self._file.write(json_line(reject))
        self._places.extend((file, line))
        self.rejects += 1

    def merged(self, others: Iterable[tuple[int, int, Reject]], path: Path) -> Path:
        """All of them and `others`, both in their order, in one file: this one, or `path`."""
        self._file.close()
        count = self.rejects
        with self._path.open("rb") as mine, path.open("wb") as file:
            pairs = zip(self._places[::2], self._places[1::2], mine, strict=True)
            for _, _, text in heapq.merge(pairs, self._lines(others)):
                file.write(text)
        return path if self.rejects > count else self._path

    def _lines(self, others: Iterable[tuple[int, int, Reject]]) -> Iterator[tuple[int, int, bytes]]:
        for file, line, reject in others:
            self.rejects += 1
            yield file, line, json_line(reject)
