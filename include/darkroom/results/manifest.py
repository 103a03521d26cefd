"""The manifest of a batch: every planned item once, with its final result."""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from darkroom.records import Status
from darkroom.results.generations import claim, current, rows
from darkroom.results.outcomes import digest, elapsed_s, outcomes, snapshot
from darkroom.results.summary import Summary, Tally
from darkroom.results.verification import VerifyReport, verify
from darkroom.store.batches import Batch
from darkroom.store.result_table import ResultWriter, json_lines

__all__ = ["Summary", "VerifyReport", "collect", "current", "rows", "verify"]

_FILES = ("manifest.parquet", "manifest.jsonl", "errors.jsonl")
_ERRORS = {Status.FAILED.value, Status.TIMED_OUT.value}


def collect(batch: Batch) -> Summary:
    """Write the next generation of the manifest; where nothing has changed, return the current one.

    Raises:
        NotPlanned: the batch has no committed plan.
        StoreUnavailable: the store does not answer; trying again does no harm.
    """
    files = snapshot(batch)
    existing = current(batch)
    if existing is not None and existing.inputs_sha256 == digest(files):
        return existing
    with tempfile.TemporaryDirectory(prefix="darkroom-") as folder:
        draft = _draft(batch, files, Path(folder))
        if existing is not None and existing.content_sha256 == draft.content_sha256:
            return existing
        generation = claim(batch)
        if (files_now := snapshot(batch)) != files:
            draft = _draft(batch, files_now, Path(folder))
        return _commit(batch, generation, draft)


@dataclass(frozen=True)
class _Draft:
    """The files of a generation before they have a number."""

    folder: Path
    counts: dict[str, Any]
    content_sha256: str
    inputs_sha256: str


def _draft(batch: Batch, files: frozenset[str], folder: Path) -> _Draft:
    """Write the files to `folder`, in one pass over the outcomes, a chunk at a time."""
    tally = Tally()
    content = hashlib.sha256()

    table_name, all_name, errors_name = _FILES
    with (
        (folder / table_name).open("wb") as table_file,
        (folder / all_name).open("wb") as all_lines,
        (folder / errors_name).open("wb") as error_lines,
        ResultWriter(table_file) as writer,
    ):
        for chunk in outcomes(batch, files):
            table = tally.add(chunk)
            writer.write(table)
            lines = json_lines(table)
            data = "".join(lines).encode()
            content.update(data)
            all_lines.write(data)
            statuses = table["status"].to_pylist()
            error_lines.writelines(
                line.encode() for line, status in zip(lines, statuses, strict=True) if status in _ERRORS
            )
    counts = {"rejects": batch.planned().rejects, **tally.fields(), "elapsed_s": elapsed_s(batch, files)}
    if counts["lower_bound_s"]:
        counts["excess"] = round(counts["elapsed_s"] / counts["lower_bound_s"] - 1, 4)
    return _Draft(folder, counts, content.hexdigest(), digest(files))


def _commit(batch: Batch, generation: int, draft: _Draft) -> Summary:
    uris = {}
    for name in _FILES:
        path = batch.manifest_path(generation, name)
        batch.store.upload(path, draft.folder / name)
        uris[name] = batch.store.uri(path)
    summary = Summary(
        batch_id=batch.batch_id,
        generation=generation,
        flow=batch.planned().flow,
        uris=uris,
        content_sha256=draft.content_sha256,
        inputs_sha256=draft.inputs_sha256,
        **draft.counts,
    )
    batch.store.create_json(batch.manifest_path(generation, "summary.json"), summary.model_dump(mode="json"))
    return summary
