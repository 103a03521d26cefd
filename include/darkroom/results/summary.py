"""The numbers of one generation of a manifest."""

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from pydantic_core import from_json

from darkroom.records import SCHEMA_VERSION, Record, Status
from darkroom.results.bounds import lower_bound_s
from darkroom.results.outcomes import ChunkOutcomes
from darkroom.store.tables import json_text

_LOOKS_KB = 16_000


class Work(Record):
    """What a stage, a host, or a stage on a host has done; a respin counts again."""

    items: int = 0
    """Items taken through a stage; one that went through two counts twice."""
    computed: int = 0
    """Of these, those that a model was asked for; the others were found, as the picture existed."""
    tries: int = 0
    """Requests that these took."""
    busy_s: float = 0.0
    """The models' own compute time on them; of rows that do not tell it, the wall time."""
    seconds: float = 0.0
    """Wall time of their requests to model servers, added up: with waiting, for the batch as well."""


class Waste(Record):
    """What was computed in vain: every try before the one that counted."""

    tries: int = 0
    busy_s: float = 0.0
    """Estimated: a try in vain takes as long as one that counts."""


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
    by_stage_and_host: dict[str, dict[str, Work]] = Field(default_factory=dict)
    wasted: Waste = Waste()
    lower_bound_s: float = 0.0
    """Of the time that the limiting stage's hosts needed for what they computed: see `bounds`."""
    elapsed_s: float = 0.0
    """From the plan's commit to the last part, by the store's clock; a pause or a later retry is in it."""
    excess: float | None = None
    """How far above the bound the batch ended: elapsed_s / lower_bound_s - 1."""
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


@dataclass(slots=True)
class _Sum:
    """Work being added up."""

    items: int = 0
    computed: int = 0
    tries: int = 0
    busy_s: float = 0.0
    seconds: float = 0.0
    wasted_tries: int = 0
    wasted_s: float = 0.0

    def add(self, told: Mapping[str, Any]) -> None:
        """An item, as its chunk tells of it in `details.stages`."""
        seconds = float(told.get("seconds", 0.0))
        tries = int(told.get("attempts", 0))
        self.items += 1
        self.seconds += seconds
        if tries > 0:
            busy_s = float(told.get("busy_s", seconds))
            self.computed += 1
            self.tries += tries
            self.busy_s += busy_s
            self.wasted_tries += tries - 1
            self.wasted_s += (tries - 1) * busy_s


class Tally:
    """Counts outcomes, a chunk at a time."""

    def __init__(self) -> None:
        self._statuses: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._sums: defaultdict[tuple[str, str | None], _Sum] = defaultdict(_Sum)
        """By stage and host."""
        self._undone = 0
        self._near_duplicates = 0
        self._looks = Looks()

    def add(self, chunk: ChunkOutcomes) -> Any:
        """Count a chunk; its rows as an Arrow table, those that look like an earlier one marked."""
        self._add_work(chunk.first.table["details"].to_pylist())
        for position in chunk.later:
            self._add_work(tries.row(place)["details"] for tries, place in chunk.tries(position)[1:])
        table = self._marked(chunk.table())
        self._statuses.update(table["status"].to_pylist())
        self._errors.update(error["code"] for error in table["error"].to_pylist() if error is not None)
        self._undone += chunk.undone()
        return table

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
            **self._work(),
        }

    def _add_work(self, details: Iterable[str]) -> None:
        """`details.stages`, as chunks write it: per stage its host, tries and seconds."""
        sums = self._sums
        for text in details:
            for stage, told in from_json(text).get("stages", {}).items():
                sums[stage, told.get("host")].add(told)

    def _work(self) -> dict[str, Any]:
        stages: dict[str, dict[str, _Sum]] = {}
        for (stage, host), done in self._sums.items():
            stages.setdefault(stage, {})[host or ""] = done
        bounds = [
            lower_bound_s({host: (done.computed, done.busy_s) for host, done in hosts.items()})
            for hosts in stages.values()
        ]
        return {
            "by_stage": _works((stage, done) for (stage, _), done in self._sums.items()),
            "by_host": _works((host, done) for (_, host), done in self._sums.items() if host is not None),
            "by_stage_and_host": {stage: _works(stages[stage].items()) for stage in sorted(stages)},
            "wasted": Waste(
                tries=sum(done.wasted_tries for done in self._sums.values()),
                busy_s=round(sum(done.wasted_s for done in self._sums.values()), 4),
            ),
            "lower_bound_s": round(max(bounds, default=0.0), 3),
        }

    def _marked(self, table: Any) -> Any:
        """The table with `near_duplicate_of` in the details of what looks like an earlier item."""
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.compute as pc  # noqa: PLC0415

        marks: dict[int, str] = {}
        checks = pc.struct_field(table["verdict"], "checks").to_pylist()
        for position, (custom_id, text) in enumerate(
            zip(table["custom_id"].to_pylist(), checks, strict=True)
        ):
            look = from_json(text).get("phash") if text is not None else None
            if isinstance(look, str) and (first := self._looks.first(look, custom_id)) != custom_id:
                marks[position] = first
        if not marks:
            return table
        self._near_duplicates += len(marks)
        details = table["details"].to_pylist()
        for position, first in marks.items():
            details[position] = json_text({**json.loads(details[position]), "near_duplicate_of": first})
        column = table.schema.get_field_index("details")
        return table.set_column(column, table.schema.field(column), pa.array(details, pa.string()))


class Looks:
    """The first item of each perceptual hash: on local disk, as there may be a million of them."""

    def __init__(self) -> None:
        # A file without a name, which is gone with this object; some MB of it are in memory.
        self._table = sqlite3.connect("", isolation_level=None)
        self._table.execute("PRAGMA journal_mode = OFF")
        self._table.execute(f"PRAGMA cache_size = -{_LOOKS_KB}")
        self._table.execute("CREATE TABLE looks (look TEXT PRIMARY KEY, first TEXT) WITHOUT ROWID")
        self._table.execute("BEGIN")

    def first(self, look: str, custom_id: str) -> str:
        """The first item that looks so: this one, or an earlier one."""
        mine = (look, custom_id)
        if self._table.execute("INSERT OR IGNORE INTO looks VALUES (?, ?)", mine).rowcount:
            return custom_id
        first: str = self._table.execute("SELECT first FROM looks WHERE look = ?", (look,)).fetchone()[0]
        return first


def _works(sums: Iterable[tuple[str, _Sum]]) -> dict[str, Work]:
    """Sums of the same name as one."""
    totals: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, done in sums:
        totals[name].update({field: getattr(done, field) for field in Work.model_fields})
    return {
        name: Work(**{
            field: round(value, 4) if isinstance(value, float) else value for field, value in total.items()
        })
        for name, total in sorted(totals.items())
    }  # fmt: skip
