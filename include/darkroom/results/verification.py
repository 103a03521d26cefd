"""Hold a manifest against its plan and its files, in one pass: neither need fit into memory."""

import hashlib
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice

from darkroom.records import SCHEMA_VERSION, Record, Status
from darkroom.results.generations import current, row_groups
from darkroom.results.outcomes import digest, outcomes, snapshot
from darkroom.results.summary import Summary
from darkroom.store.ahead import ahead
from darkroom.store.batches import Batch, Index
from darkroom.store.result_table import Row
from darkroom.store.storage import sha256

MAX_PROBLEMS = 100
"""Listed; all are counted."""
_READERS = 8
_CHUNKS_AHEAD = 32
_COLUMNS = ("custom_id", "status", "image_uri", "sha256", "bytes", "error")
_WITH_PICTURE = {Status.COMPLETED.value, Status.REJECTED.value}

OnProgress = Callable[[int, int], None]
"""Called with rows checked, rows in all."""


class VerifyReport(Record):
    """What a check of a batch found."""

    batch_id: str
    generation: int | None
    """Of the manifest; None: there is none."""
    items: int
    """Planned."""
    rows: int = 0
    """In the manifest."""
    images: int = 0
    """Read and compared."""
    seconds: float = 0.0
    """That it took."""
    problem_count: int
    problems: list[str]
    """The first of them, each a sentence."""
    schema_version: int = SCHEMA_VERSION

    @property
    def ok(self) -> bool:
        """Whether the manifest is complete and true."""
        return self.problem_count == 0

    @property
    def rows_per_s(self) -> float:
        """How fast it went."""
        return self.rows / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        found = "all well" if self.ok else f"{self.problem_count} problems"
        return (
            f"{self.batch_id}, generation {self.generation}: {self.items} items planned, "
            f"{self.rows} rows, {self.images} images read, {self.rows_per_s:,.0f} rows/s: {found}"
        )


class _Problems:
    def __init__(self) -> None:
        self.count, self.listed = 0, list[str]()

    def add(self, problem: str) -> None:
        self.count += 1
        if len(self.listed) < MAX_PROBLEMS:
            self.listed.append(problem)


def verify(batch: Batch, on_progress: OnProgress | None = None, *, pictures: bool = True) -> VerifyReport:
    """Check that each planned item has one row, and that each picture is the one its row tells of.

    Args:
        batch: planned.
        on_progress: told now and then.
        pictures: False reads no picture and compares only the files of the batch: much faster.

    Raises:
        NotPlanned: the batch has no committed plan.
        StoreUnavailable: the store does not answer.
    """
    begun = time.monotonic()
    index = batch.planned()
    problems = _Problems()
    summary = current(batch)
    rows = _Rows(batch, problems, pictures)
    if summary is None:
        problems.add("there is no manifest")
    else:
        _check_lines(batch, summary, problems)
        rows.read(summary, index, on_progress)
        _check_summary(batch, summary, rows.statuses, problems)
    planned = rows.planned if summary is not None else sum(map(len, planned_ids(batch, index)))
    _check_plan(batch, index, planned, problems)
    return VerifyReport(
        batch_id=batch.batch_id,
        generation=None if summary is None else summary.generation,
        items=planned,
        rows=rows.statuses.total(),
        images=rows.images,
        seconds=round(time.monotonic() - begun, 3),
        problem_count=problems.count,
        problems=problems.listed,
    )


def planned_ids(batch: Batch, index: Index) -> Iterator[list[str]]:
    """The ids of each chunk, in plan order."""

    def ids(chunk_id: str) -> list[str]:
        found: list[str] = batch.plan_table(chunk_id, ["custom_id"])["custom_id"].to_pylist()
        return found

    return ahead(ids, index.chunk_ids, _CHUNKS_AHEAD)


class _Rows:
    """The rows of a manifest, held against the planned ids as both stream by."""

    def __init__(self, batch: Batch, problems: _Problems, pictures: bool) -> None:
        self._batch, self._problems, self._pictures = batch, problems, pictures
        self.planned = self.images = 0
        self.statuses: Counter[str] = Counter()

    def read(self, summary: Summary, index: Index, on_progress: OnProgress | None) -> None:
        """Check all rows of a generation, and that they are one for each planned item, in plan order."""
        ids = chain.from_iterable(planned_ids(self._batch, index))
        hashes = array("q")
        in_order = True
        with ThreadPoolExecutor(_READERS, thread_name_prefix="verify") as threads:
            look = threads.map if self._pictures else map
            for group in row_groups(self._batch, summary, _COLUMNS):
                self._count(group, look(self._problem, group))
                found = [row["custom_id"] for row in group]
                planned = list(islice(ids, len(found)))
                self.planned += len(planned)
                in_order = in_order and planned == found
                hashes.extend(map(hash, found))
                if on_progress is not None:
                    on_progress(self.statuses.total(), summary.items)
        missing = sum(1 for _ in ids)
        self.planned += missing
        # Equal hashes of different ids only cost the exact look; with different ones there is no double.
        if not in_order or missing or len(set(hashes)) < len(hashes):
            self._report_ids(summary, index)

    def _count(self, group: Sequence[Row], problems: Iterable[str | None]) -> None:
        for row, problem in zip(group, problems, strict=True):
            self.statuses[row["status"]] += 1
            self.images += self._pictures and row["image_uri"] is not None
            if problem:
                self._problems.add(f"{row['custom_id']}: {problem}")

    def _problem(self, row: Row) -> str | None:
        """What is wrong with a row, if anything."""
        status, uri = row["status"], row["image_uri"]
        if status not in _WITH_PICTURE:
            return None if row["error"] is not None else f"{status} without an error"
        if uri is None:
            return f"{status} without a picture"
        return _image_problem(self._batch, row, uri) if self._pictures else None

    def _report_ids(self, summary: Summary, index: Index) -> None:
        """Say which ids are not as planned; this holds them all."""
        before = self._problems.count
        wanted = Counter(chain.from_iterable(planned_ids(self._batch, index)))
        found = Counter(
            row["custom_id"] for group in row_groups(self._batch, summary, ["custom_id"]) for row in group
        )
        for custom_id, count in wanted.items():
            if count > 1:
                self._problems.add(f"{custom_id}: planned {count} times")
            if found[custom_id] != 1:
                self._problems.add(f"{custom_id}: {found[custom_id]} rows instead of one")
        for custom_id in found.keys() - wanted.keys():
            self._problems.add(f"{custom_id}: a row of an item that was not planned")
        if self._problems.count == before and list(wanted) != list(found):
            self._problems.add("the rows are not in plan order")


def _check_plan(batch: Batch, index: Index, planned: int, problems: _Problems) -> None:
    if planned != index.items:
        problems.add(f"the plan's index says {index.items} items, its chunks hold {planned}")
    rejects = _read_lines(batch, batch.rejects_path)[0] if batch.store.exists(batch.rejects_path) else 0
    if rejects != index.rejects:
        problems.add(f"the plan counts {index.rejects} bad lines, rejects.jsonl holds {rejects}")


def _check_lines(batch: Batch, summary: Summary, problems: _Problems) -> None:
    count, digest_now = _read_lines(batch, batch.manifest_path(summary.generation, "manifest.jsonl"))
    if digest_now != summary.content_sha256:
        problems.add("manifest.jsonl is not the one that summary.json tells of")
    if count != summary.items:
        problems.add(f"manifest.jsonl has {count} lines for {summary.items} items")


def _read_lines(batch: Batch, path: str) -> tuple[int, str]:
    """Number of lines of a file, and its SHA-256."""
    count, content = 0, hashlib.sha256()
    for piece in batch.store.stream(path):
        count += piece.count(b"\n")
        content.update(piece)
    return count, content.hexdigest()


def _check_summary(batch: Batch, summary: Summary, statuses: Counter[str], problems: _Problems) -> None:
    if summary.undone and summary.inputs_sha256 != digest(files := snapshot(batch)):
        now = sum(chunk.undone() for chunk in outcomes(batch, files, columns=("custom_id", "status")))
        if now != summary.undone:
            problems.add(
                f"{summary.undone} items undone, but with newer parts it is {now}: clear the task `collect`"
            )
    for status in ("completed", "rejected", "failed", "timed_out"):
        if statuses[status] != getattr(summary, status):
            problems.add(
                f"summary.json counts {getattr(summary, status)} {status}, the rows {statuses[status]}"
            )


def _image_problem(batch: Batch, row: Row, uri: str) -> str | None:
    try:
        data = batch.store.read(batch.store.path(uri))
    except FileNotFoundError:
        return f"{uri} is not there"
    except ValueError as error:
        return str(error)
    if len(data) != row["bytes"]:
        return f"{uri} has {len(data)} bytes, not {row['bytes']}"
    if sha256(data) != row["sha256"]:
        return f"{uri} has another SHA-256 than its row"
    return None
