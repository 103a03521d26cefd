"""The numbers of one generation of a manifest."""

from collections import Counter
from typing import Any

from pydantic import Field

from darkroom.outcomes import Outcome
from darkroom.records import SCHEMA_VERSION, Record, Result, Status


class Work(Record):
    """What a stage or a host has done."""

    items: int = 0
    """Items taken through a stage; one that went through two counts twice, a respin again."""
    seconds: float = 0.0
    """Wall time of their requests to model servers, added up."""


class Summary(Record):
    """What came of a batch. Written last, it commits its generation of the manifest."""

    batch_id: str
    generation: int
    flow: str
    items: int
    """Planned: completed + rejected + failed + timed_out."""
    completed: int
    rejected: int
    """By `inspect`: a verdict, not a failure."""
    failed: int
    """With those that are undone."""
    timed_out: int
    undone: int
    """Of the failed: those that no stage has finished with."""
    rejects: int
    """Lines of the source that are not items."""
    failed_ratio: float
    """(failed + timed_out) / items."""
    by_stage: dict[str, Work] = Field(default_factory=dict)
    by_host: dict[str, Work] = Field(default_factory=dict)
    errors: dict[str, int] = Field(default_factory=dict)
    """Items per error code, the most frequent first."""
    near_duplicates: int = 0
    """Items that look like an earlier one: `details.near_duplicate_of`."""
    uris: dict[str, str] = Field(default_factory=dict)
    """File name to absolute URI."""
    content_sha256: str
    """Of `manifest.jsonl`."""
    inputs_sha256: str
    """Of the list of files that it was made from: when that is the same, so is the manifest."""
    schema_version: int = SCHEMA_VERSION

    def __str__(self) -> str:
        text = (
            f"{self.items} items: {self.completed} completed, {self.rejected} rejected, "
            f"{self.failed} failed, {self.timed_out} timed out ({self.failed_ratio:.1%} failed)"
        )
        extras = (
            (self.undone, "undone"),
            (self.rejects, "bad lines"),
            (self.near_duplicates, "near duplicates"),
        )
        return "; ".join([text, *(f"{count} {what}" for count, what in extras if count)])

    def places(self) -> list[str]:
        """Where the files are that a person opens; the contact sheet is there once it was drawn."""
        table = self.uris["manifest.parquet"]
        return [table.removesuffix("manifest.parquet") + "contact_sheet.html", table]


class Tally:
    """Counts outcomes one by one."""

    def __init__(self) -> None:
        self._statuses: Counter[Status] = Counter()
        self._errors: Counter[str] = Counter()
        self._work: dict[str, dict[str, Work]] = {"by_stage": {}, "by_host": {}}
        self._undone = 0
        self._near_duplicates = 0
        self._looks: dict[str, str] = {}
        """Perceptual hash to the first item that has it."""

    def add(self, outcome: Outcome) -> Result:
        """Count an outcome; its row, with `near_duplicate_of` where it looks like an earlier one."""
        for attempt in outcome.tries:
            self._add_work(attempt.row.details.get("stages", {}))
        row = self._marked(outcome.row)
        self._statuses[row.status] += 1
        self._undone += outcome.undone
        if row.error is not None:
            self._errors[row.error.code] += 1
        return row

    def fields(self) -> dict[str, Any]:
        """The fields of a `Summary` that are counts."""
        items = self._statuses.total()
        failed, timed_out = self._statuses[Status.FAILED], self._statuses[Status.TIMED_OUT]
        return {
            "items": items,
            "completed": self._statuses[Status.COMPLETED],
            "rejected": self._statuses[Status.REJECTED],
            "failed": failed,
            "timed_out": timed_out,
            "undone": self._undone,
            "failed_ratio": (failed + timed_out) / items if items else 0.0,
            "errors": dict(sorted(self._errors.items(), key=lambda entry: (-entry[1], entry[0]))),
            "near_duplicates": self._near_duplicates,
            **{name: dict(sorted(work.items())) for name, work in self._work.items()},
        }

    def _add_work(self, stages: dict[str, dict[str, Any]]) -> None:
        """`details.stages`, as chunks write it: per stage its host and seconds."""
        for stage, told in stages.items():
            for name, who in (("by_stage", stage), ("by_host", told.get("host"))):
                if who is not None:
                    before = self._work[name].get(who, Work())
                    seconds = round(before.seconds + float(told.get("seconds", 0)), 4)
                    self._work[name][who] = Work(items=before.items + 1, seconds=seconds)

    def _marked(self, row: Result) -> Result:
        look = row.verdict.checks.get("phash") if row.verdict is not None else None
        if not isinstance(look, str):
            return row
        first = self._looks.setdefault(look, row.custom_id)
        if first == row.custom_id:
            return row
        self._near_duplicates += 1
        return row.model_copy(update={"details": {**row.details, "near_duplicate_of": first}})
