"""The records that cross a boundary: versioned, validated, the same in JSONL, CSV and Parquet."""

import hashlib
import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from darkroom.errors import NewerSchema
from darkroom.flows import FLOWS

SCHEMA_VERSION = 1

CustomId = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
BatchId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Side = Annotated[int, Field(ge=8, le=4096, description="pixels")]


def batch_id_for(asked: str | None, run_id: str) -> str:
    """The batch a run works on: as asked, else made from the run's id, and different for different ids."""
    if asked:
        return asked
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", run_id).lstrip("._-")[:119]
    return name if name == run_id else f"{name or 'run'}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}"


class Status(StrEnum):
    """The state of an item. The last four are final."""

    WAITING = "waiting"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    COMPLETED = "completed"
    REJECTED = "rejected"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


class Record(BaseModel):
    """Base of all records: unknown fields are errors, a newer schema is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_newer(cls, data: Any) -> Any:
        version = data.get("schema_version", 1) if isinstance(data, dict) else 1
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise NewerSchema(
                f"{cls.__name__} has schema_version {version}; this Darkroom reads up to "
                f"{SCHEMA_VERSION}. Upgrade this host."
            )
        return data


class Item(Record):
    """One line of a source: one prompt or one uploaded picture."""

    custom_id: CustomId
    prompt: Annotated[str, Field(min_length=1, max_length=4000)] | None = None
    image: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    seed: Seed | None = None
    width: Side | None = None
    height: Side | None = None
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Per stage, over those of the run: `{"generate": {"steps": 8}}`."""
    expires_at: datetime | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _prompt_or_image(self) -> Self:
        if (self.prompt is None) == (self.image is None):
            raise ValueError("give either prompt (flows A, A_C) or image (flow B_C)")
        return self


class PlannedItem(Item):
    """An item as the plan fixes it: its seed is decided, its image is an absolute URI."""

    seed: Seed
    respin: Annotated[int, Field(ge=0)] = 0
    """How often a rejection has sent it round again."""


class Verdict(Record):
    """What `inspect` says of a picture."""

    accepted: bool
    reasons: list[str] = Field(default_factory=list)
    """Why not, one code each; empty when accepted."""
    checks: dict[str, Any] = Field(default_factory=dict)
    """What was measured: scores, hashes, colours."""


class ErrorInfo(Record):
    """Why an item has no result; `code` is that of an error class, `message` is for people."""

    code: str
    message: str


class Result(Record):
    """One row per accepted item. In a part: its state after one stage; in the manifest: the final one."""

    custom_id: str
    status: Status
    flow: str
    image_uri: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    width: int | None = None
    height: int | None = None
    seed: int | None = None
    verdict: Verdict | None = None
    attempts: int = 0
    """Tries spent on it, over all its stages."""
    seconds: float = 0.0
    """Wall time of its requests to model servers, over all its stages."""
    host: str | None = None
    model: str | None = None
    error: ErrorInfo | None = None
    details: dict[str, Any] = Field(default_factory=dict)
    """What the stages had to say beyond the verdict, such as `unknown_words`."""
    metadata: dict[str, Any] = Field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def told_by(self, stage: str) -> dict[str, Any]:
        """What a stage told of its work: host, model, seconds, attempts, busy_s; empty where it had none."""
        told: dict[str, Any] = self.details.get("stages", {}).get(stage, {})
        return told


class Reject(Record):
    """A line of the source that is not an item."""

    source: str | None = None
    """Name of the file, where the source has several."""
    line: int
    """1-based; a row of a Parquet file; for a folder, the position of the file in the listing; 0: the whole
    source."""
    field: str | None
    reason: str
    custom_id: str | None = None


class BatchRequest(Record):
    """What a person asks for: the params of a run, kept as `request.json`."""

    flow: Literal[tuple(FLOWS)]  # type: ignore[valid-type]
    source: Annotated[str, Field(min_length=1, max_length=2048)]
    batch_id: BatchId
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Per stage: `{"generate": {"steps": 8}, "inspect": {"max_nsfw": 0.5}}`."""
    max_failed_ratio: Annotated[float, Field(ge=0, le=1)] = 0.05
    respins: Annotated[int, Field(ge=0, le=5)] = 1
    priority: Literal["backfill", "bulk", "normal", "interactive"] = "normal"
    schema_version: int = SCHEMA_VERSION

    @property
    def conf(self) -> dict[str, Any]:
        """The conf of a run that asks for the same."""
        return self.model_dump(mode="json", exclude={"schema_version"})


class RunTerms(Record):
    """How and when one run goes about a batch: those of its params that are not kept with the batch.

    So a batch that is started again, later and under other terms, is still the same batch.
    """

    retry: bool = False
    force: bool = False
    not_before: AwareDatetime | None = None
    deadline: AwareDatetime | None = None
    cancel_at_deadline: bool = False
    callback_url: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    then: str | None = None
    """By which route its items go on."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.deadline and self.not_before and self.deadline <= self.not_before:
            raise ValueError("deadline is not after not_before")
        if self.cancel_at_deadline and not self.deadline:
            raise ValueError("cancel_at_deadline without a deadline")
        return self
