"""One batch in the store: where each of its files lies, and how it is read and written.

    batches/{batch_id}/request.json
    batches/{batch_id}/plan/params.json                      written first
    batches/{batch_id}/plan/chunk-00042.parquet
    batches/{batch_id}/plan/index.json                       written last: the plan is committed
    batches/{batch_id}/plan/params-r1-3fa94be1.json          round 1: what its cut derives from,
    batches/{batch_id}/plan/draft-r1-3fa94be1.parquet        all its items, then the same as above:
    batches/{batch_id}/plan/chunk-r1-3fa94be1-00000.parquet, index-r1.json
    batches/{batch_id}/rejects.jsonl
    batches/{batch_id}/parts/{stage}/chunk-00042.parquet
    batches/{batch_id}/manifests/0001/...
    images/{stage}/{2 hex}/{key}.png                         shared by all batches
    deleting/asked/{batch_id}                                while `retention/` removes it

Every `save_` creates if absent and says whether it was the first: False means that the file was there.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from darkroom.errors import BadRequest, NotPlanned
from darkroom.plans.planning import Params
from darkroom.records import SCHEMA_VERSION, BatchId, BatchRequest, PlannedItem, Record, Result
from darkroom.store.plan_table import read_plan
from darkroom.store.result_table import read_results, result_bytes, schema
from darkroom.store.storage import Store
from darkroom.store.tables import as_of_now, read_table

_BATCH_ID: TypeAdapter[str] = TypeAdapter(BatchId)


class Index(Record):
    """The commit of a round's plan: which chunks there are."""

    round: Annotated[int, Field(ge=0)] = 0
    flow: str
    chunk_ids: list[str]
    """In plan order."""
    sizes: list[int]
    """Items per chunk."""
    items: int
    """Planned items: the sum of `sizes`."""
    rejects: int = 0
    """Lines of the source that are not items; 0 in the rounds after the first."""
    asked_by: str = ""
    """Of a round after the first: the id of the run that asked for it."""
    schema_version: int = SCHEMA_VERSION

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if len(self.chunk_ids) != len(self.sizes) or sum(self.sizes) != self.items:
            raise ValueError("chunk_ids, sizes and items do not fit together")
        return self


def round_id(round: int, asked_by: str) -> str:
    """`r1-3fa94be1`: what a round's files are named after until its index commits it.

    Several runs may ask for the next round, and one may be killed half-way: none takes the other's files
    for its own.
    """
    return f"r{round}-{hashlib.sha256(asked_by.encode()).hexdigest()[:8]}"


def chunk_id(number: int, round_id: str = "") -> str:
    """`00042` in the first round, `r1-3fa94be1-00042` in a later one."""
    return f"{round_id}-{number:05d}" if round_id else f"{number:05d}"


def image_path(stage: str, key: str, suffix: str = "png") -> str:
    """Where the output of `stage` under the hex `key` lies: `images/<stage>/<2 hex>/<key>.<suffix>`."""
    return f"images/{stage}/{key[:2]}/{key}.{suffix}"


@dataclass(frozen=True)
class Batch:
    """One batch in `store`.

    Raises:
        BadRequest: `batch_id` is no name for a batch (it becomes part of paths).
    """

    store: Store
    batch_id: str

    def __post_init__(self) -> None:
        try:
            _BATCH_ID.validate_python(self.batch_id)
        except ValidationError as error:
            raise BadRequest(f"batch_id {self.batch_id!r}: {error.errors()[0]['msg']}") from None

    # Where things lie.

    @cached_property
    def root(self) -> str:
        """The folder of the batch."""
        return f"batches/{self.batch_id}"

    @property
    def request_path(self) -> str:
        """What was asked for."""
        return f"{self.root}/request.json"

    def params_path(self, round_id: str = "") -> str:
        """What the plan derives from, or that of a later round."""
        return f"{self.root}/plan/params{f'-{round_id}' if round_id else ''}.json"

    @property
    def rejects_path(self) -> str:
        """The lines of the source that are not items."""
        return f"{self.root}/rejects.jsonl"

    def plan_chunk_path(self, chunk_id: str) -> str:
        """The items of a chunk."""
        return f"{self.root}/plan/chunk-{chunk_id}.parquet"

    def draft_path(self, round_id: str) -> str:
        """The items of a round after the first, before they are cut."""
        return f"{self.root}/plan/draft-{round_id}.parquet"

    def index_path(self, round: int = 0) -> str:
        """The commit of a round's plan."""
        return f"{self.root}/plan/index{f'-r{round}' if round else ''}.json"

    def part_path(self, stage: str, chunk_id: str) -> str:
        """The results of a chunk after a stage."""
        return f"{self.root}/parts/{stage}/chunk-{chunk_id}.parquet"

    @property
    def manifests_path(self) -> str:
        """The folder of all generations of the manifest."""
        return f"{self.root}/manifests"

    def manifest_path(self, generation: int, name: str) -> str:
        """A file of one generation of the manifest, such as `summary.json`."""
        return f"{self.manifests_path}/{generation:04d}/{name}"

    @property
    def going_path(self) -> str:
        """There while the batch is being removed, as it is older than the plant keeps batches."""
        return f"deleting/asked/{self.batch_id}"

    # What they say.

    def is_going(self) -> bool:
        """Whether the batch is being removed: whoever begins with it waits, and then begins anew."""
        return self.store.exists(self.going_path)

    def exists(self) -> bool:
        """Whether anything was ever asked for under this name."""
        return self.store.exists(self.request_path)

    def request(self) -> BatchRequest:
        """What was asked for.

        Raises:
            NotPlanned: nothing was, under this name.
        """
        try:
            return BatchRequest.model_validate_json(self.store.read(self.request_path))
        except FileNotFoundError:
            raise NotPlanned(f"there is no batch {self.batch_id} in {self.store.url}") from None

    def save_request(self, request: BatchRequest) -> bool:
        """Keep what was asked for."""
        return self._save_record(self.request_path, request)

    def params(self, round_id: str = "") -> Params:
        """What the plan derives from, or that of a later round.

        Raises:
            NotPlanned: planning has not begun.
        """
        data = self._read(self.params_path(round_id))
        if data is None:
            raise NotPlanned(f"planning of batch {self.batch_id} has not begun")
        return Params.model_validate_json(data)

    def save_params(self, params: Params, round_id: str = "") -> bool:
        """Fix what the plan derives from, or that of a later round."""
        return self._save_record(self.params_path(round_id), params)

    def plan_chunk(self, chunk_id: str) -> list[PlannedItem]:
        """The items of a chunk, in plan order.

        Raises:
            NotPlanned: there is no such chunk.
        """
        data = self._read(self.plan_chunk_path(chunk_id))
        if data is None:
            raise NotPlanned(f"batch {self.batch_id} has no planned chunk {chunk_id}")
        return read_plan(data)

    def plan_table(self, chunk_id: str, columns: Sequence[str] | None = None) -> Any:
        """The items of a chunk, in plan order, as an Arrow table, or some of its columns.

        Raises:
            NotPlanned: there is no such chunk.
        """
        data = self._read(self.plan_chunk_path(chunk_id))
        if data is None:
            raise NotPlanned(f"batch {self.batch_id} has no planned chunk {chunk_id}")
        return read_table(data, columns)

    def index(self, round: int = 0) -> Index | None:
        """The chunks of a round; None while its plan is not committed."""
        data = self._read(self.index_path(round))
        return None if data is None else Index.model_validate_json(data)

    def planned(self, round: int = 0) -> Index:
        """The chunks of a round.

        Raises:
            NotPlanned: its plan is not committed.
        """
        index = self.index(round)
        if index is None:
            raise NotPlanned(f"batch {self.batch_id} has no committed plan for round {round}")
        return index

    def save_index(self, index: Index) -> bool:
        """Commit the plan of a round, after all its chunks."""
        return self._save_record(self.index_path(index.round), index)

    def part(self, stage: str, chunk_id: str) -> list[Result] | None:
        """The results of a chunk after a stage; None while it has none."""
        data = self._read(self.part_path(stage, chunk_id))
        return None if data is None else list(read_results(data))

    def part_table(self, stage: str, chunk_id: str, columns: Sequence[str] | None = None) -> Any:
        """The results of a chunk after a stage as an Arrow table; None while it has none."""
        data = self._read(self.part_path(stage, chunk_id))
        return None if data is None else as_of_now(read_table(data, columns), schema(), columns)

    def save_part(self, stage: str, chunk_id: str, results: Sequence[Result]) -> bool:
        """Commit the results of a chunk. False: somebody else was first, read theirs."""
        return self.store.create(self.part_path(stage, chunk_id), result_bytes(results))

    def _read(self, path: str) -> bytes | None:
        try:
            return self.store.read(path)
        except FileNotFoundError:
            return None

    def _save_record(self, path: str, record: Record) -> bool:
        return self.store.create_json(path, record.model_dump(mode="json"))


def batches_in(store: Store) -> Iterator[Batch]:
    """The batches whose files lie in a store; a folder of somebody else's is none."""
    for name in store.folders("batches"):
        try:
            batch = Batch(store, name)
        except BadRequest:
            continue
        yield batch


def json_line(record: Record) -> bytes:
    """One JSON object and a newline. U+2028 and its like stay inside strings: only LF ends a line."""
    value: Any = record.model_dump(mode="json")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
