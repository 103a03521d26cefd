"""Hold a manifest against its plan and its files."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from darkroom.batches import Batch
from darkroom.generations import current, rows
from darkroom.outcomes import digest, snapshot
from darkroom.records import SCHEMA_VERSION, Record, Result, Status
from darkroom.storage import sha256
from darkroom.summary import Summary

MAX_PROBLEMS = 100
"""Listed; all are counted."""
_READERS = 8
_AT_ONCE = 512

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
    problem_count: int
    problems: list[str]
    """The first of them, each a sentence."""
    schema_version: int = SCHEMA_VERSION

    @property
    def ok(self) -> bool:
        """Whether the manifest is complete and true."""
        return self.problem_count == 0

    def __str__(self) -> str:
        found = "all well" if self.ok else f"{self.problem_count} problems"
        return (
            f"{self.batch_id}, generation {self.generation}: {self.items} items planned, "
            f"{self.rows} rows, {self.images} images read: {found}"
        )


class _Problems:
    def __init__(self) -> None:
        self.count, self.listed = 0, list[str]()

    def add(self, problem: str) -> None:
        self.count += 1
        if len(self.listed) < MAX_PROBLEMS:
            self.listed.append(problem)


def verify(batch: Batch, on_progress: OnProgress | None = None) -> VerifyReport:
    """Check that each planned item has one row, and that each picture is the one its row tells of.

    Raises:
        NotPlanned: the batch has no committed plan.
        StoreUnavailable: the store does not answer.
    """
    problems = _Problems()
    planned = _check_plan(batch, problems)
    summary = current(batch)
    if summary is None:
        problems.add("there is no manifest")
        return _report(batch, None, planned, problems)
    _check_lines(batch, summary, problems)
    seen: list[str] = []
    statuses: Counter[str] = Counter()
    images = 0
    with ThreadPoolExecutor(_READERS, thread_name_prefix="verify") as threads:
        for group in _groups(rows(batch, summary)):
            for row, problem in zip(group, threads.map(lambda row: _problem(batch, row), group), strict=True):
                seen.append(row.custom_id)
                statuses[row.status.value] += 1
                images += row.image_uri is not None
                if problem:
                    problems.add(f"{row.custom_id}: {problem}")
            if on_progress is not None:
                on_progress(len(seen), summary.items)
    _check_ids(planned, seen, problems)
    if summary.undone and summary.inputs_sha256 != digest(snapshot(batch)):
        problems.add(f"{summary.undone} items undone, but there are newer parts: clear the task `collect`")
    for status in ("completed", "rejected", "failed", "timed_out"):
        if statuses[status] != getattr(summary, status):
            problems.add(
                f"summary.json counts {getattr(summary, status)} {status}, the rows {statuses[status]}"
            )
    return _report(batch, summary.generation, planned, problems, rows=len(seen), images=images)


def _report(
    batch: Batch,
    generation: int | None,
    planned: Sequence[str],
    problems: _Problems,
    rows: int = 0,
    images: int = 0,
) -> VerifyReport:
    return VerifyReport(
        batch_id=batch.batch_id,
        generation=generation,
        items=len(planned),
        rows=rows,
        images=images,
        problem_count=problems.count,
        problems=problems.listed,
    )


def _check_plan(batch: Batch, problems: _Problems) -> list[str]:
    """The planned ids, in plan order."""
    index = batch.planned()
    planned = [item.custom_id for chunk_id in index.chunk_ids for item in batch.plan_chunk(chunk_id)]
    if len(planned) != index.items:
        problems.add(f"the plan's index says {index.items} items, its chunks hold {len(planned)}")
    rejects = len(batch.rejects())
    if rejects != index.rejects:
        problems.add(f"the plan counts {index.rejects} bad lines, rejects.jsonl holds {rejects}")
    if len(planned) + rejects != index.lines:
        problems.add(f"{len(planned)} items and {rejects} bad lines do not make {index.lines} lines")
    return planned


def _check_lines(batch: Batch, summary: Summary, problems: _Problems) -> None:
    lines = batch.store.read(batch.manifest_path(summary.generation, "manifest.jsonl"))
    if sha256(lines) != summary.content_sha256:
        problems.add("manifest.jsonl is not the one that summary.json tells of")
    count = lines.count(b"\n")
    if count != summary.items:
        problems.add(f"manifest.jsonl has {count} lines for {summary.items} items")


def _check_ids(planned: Sequence[str], seen: Sequence[str], problems: _Problems) -> None:
    if list(planned) == list(seen) and len(set(planned)) == len(planned):
        return
    wanted, found = Counter(planned), Counter(seen)
    for custom_id, count in wanted.items():
        if count > 1:
            problems.add(f"{custom_id}: planned {count} times")
        if found[custom_id] != 1:
            problems.add(f"{custom_id}: {found[custom_id]} rows instead of one")
    for custom_id in found.keys() - wanted.keys():
        problems.add(f"{custom_id}: a row of an item that was not planned")
    if not problems.count:
        problems.add("the rows are not in plan order")


def _problem(batch: Batch, row: Result) -> str | None:
    """What is wrong with a row, if anything."""
    if row.status not in (Status.COMPLETED, Status.REJECTED):
        return None if row.error is not None else f"{row.status} without an error"
    if row.image_uri is None:
        return f"{row.status} without a picture"
    return _image_problem(batch, row, row.image_uri)


def _image_problem(batch: Batch, row: Result, uri: str) -> str | None:
    try:
        data = batch.store.read(batch.store.path(uri))
    except FileNotFoundError:
        return f"{uri} is not there"
    except ValueError as error:
        return str(error)
    if len(data) != row.bytes:
        return f"{uri} has {len(data)} bytes, not {row.bytes}"
    if sha256(data) != row.sha256:
        return f"{uri} has another SHA-256 than its row"
    return None


def _groups(results: Iterable[Result]) -> Iterator[list[Result]]:
    iterator = iter(results)
    while group := list(islice(iterator, _AT_ONCE)):
        yield group
