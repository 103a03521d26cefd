"""The numbered generations of a batch's manifest: claimed, committed, read.

Whoever writes one claims its number first (`claim.json`, created if absent), and `summary.json`, written
last, commits it; the highest committed one is the current. So two collectors never write into the same
generation, and one that was paused can finish only its own.

A collector looks again at what files there are once it has claimed. So each generation knows of every file
that was there when it was claimed, and, numbers being claimed in order, no current one misses what was
there when a lower one was begun.
"""

import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from darkroom.records import Result
from darkroom.results.summary import Summary
from darkroom.store.batches import Batch
from darkroom.store.result_table import Row, read_results, result_of
from darkroom.store.tables import open_table


def current(batch: Batch) -> Summary | None:
    """The summary of the highest committed generation; None before the first."""
    numbers = committed(batch)
    return summary_of(batch, numbers[-1]) if numbers else None


def committed(batch: Batch) -> list[int]:
    """The numbers of all committed generations, the current one last."""
    return sorted(number for number, names in _generations(batch).items() if "summary.json" in names)


def summary_of(batch: Batch, generation: int) -> Summary:
    """The summary of a committed generation."""
    return Summary.model_validate_json(batch.store.read(batch.manifest_path(generation, "summary.json")))


def rows(batch: Batch, summary: Summary) -> Iterator[Result]:
    """The rows of a generation, in plan order."""
    yield from read_results(_table_file(batch, summary))


def row_groups(batch: Batch, summary: Summary, columns: Sequence[str]) -> Iterator[list[Row]]:
    """Some columns of a generation's rows, in plan order, by row group; free-form values stay text."""
    file = open_table(_table_file(batch, summary))
    for number in range(file.num_row_groups):
        yield file.read_row_group(number, columns=columns, use_threads=False).to_pylist()


def rows_at(batch: Batch, summary: Summary, positions: Iterable[int]) -> dict[int, Result]:
    """The rows at some positions; only the row groups that hold them are read."""
    file = open_table(_table_file(batch, summary))
    wanted = sorted(set(positions))
    found: dict[int, Result] = {}
    begin = 0
    for number in range(file.num_row_groups):
        end = begin + file.metadata.row_group(number).num_rows
        here = [position for position in wanted if begin <= position < end]
        if here:
            group = file.read_row_group(number, use_threads=False).take([place - begin for place in here])
            found |= zip(here, map(result_of, group.to_pylist()), strict=True)
        begin = end
    return found


def _table_file(batch: Batch, summary: Summary) -> Any:
    return batch.store.open(batch.manifest_path(summary.generation, "manifest.parquet"))


def claim(batch: Batch) -> int:
    """The number of a new generation that nobody else writes."""
    token = f"{uuid.uuid4()} pid {os.getpid()}"
    number = max(_generations(batch), default=0) + 1
    while True:
        path = batch.manifest_path(number, "claim.json")
        # Refused, it may still be ours: an answer of the store can get lost and the call be repeated.
        if batch.store.create_json(path, token) or batch.store.read_json(path) == token:
            return number
        number += 1


def _generations(batch: Batch) -> dict[int, set[str]]:
    """Generations to the names of their files, claimed ones too."""
    found: dict[int, set[str]] = {}
    for path in batch.store.list(batch.manifests_path):
        number, _, name = path.removeprefix(f"{batch.manifests_path}/").partition("/")
        if number.isdigit():
            found.setdefault(int(number), set()).add(name)
    return found
