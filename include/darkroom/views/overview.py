"""The whole plant at one look: what `/darkroom/api/plant` answers and `darkroom top` draws. Pure.

The models are the contract; a later version may add fields and takes none away.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from darkroom.serving.status import GpuStatus
from darkroom.views.outlook import Outlook


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, use_attribute_docstrings=True)


class Quantiles(_Told):
    """How long something took, over the last half hour; each within 5 %."""

    count: int
    """On how many it stands."""
    p50: float
    """Seconds."""
    p95: float
    """Seconds."""


class Servers(_Told):
    """The model servers of a stage."""

    ready: int
    fenced: int
    other: int
    """Loading, draining, waiting for their next start, stopped."""


class Lanes(_Told):
    """The worker slots that feed a stage's servers."""

    busy: int
    """They run a chunk."""
    idle: int
    """Of ready servers, and without a chunk."""
    fenced: int


class Waiting(_Told):
    """Chunks of a stage that nobody works on, by where they are."""

    scheduler: int
    """Ready to run, without a free lane: Airflow's state `scheduled`."""
    broker: int
    """Handed out, and taken by no worker yet: the length of the stage's lists in Redis."""
    put_back: int
    """To be offered again, after a failure or a stop."""
    paused: int
    """Of paused batches; they hold no lane."""


class Wait(_Told):
    """How long a chunk waits for a lane, in seconds."""

    expected_s: float | None
    """Little's law: items that wait over items a second; of one that comes now. Null: nothing moves."""
    measured_s: float | None
    """From ready to started: the mean of the chunks that are running now. Null: none is."""
    longest_s: float | None
    """How long the one that waits longest has waited. Null: none waits."""


class WhatIf(_Told):
    """What a stage with another number of servers would come to, if nothing else changes."""

    servers: int
    time_left_s: float | None
    """Until the batches that are running end. Null: a stage would have no server."""
    change: float | None
    """Of the time left: -0.46 is 46 % sooner."""
    wait_s: float | None
    """What a chunk would wait in front of this stage. Null: for ever."""
    bottleneck: str | None
    """The stage that would then need longest."""


class StageNow(_Told):
    """One stage."""

    stage: str
    summary: str
    model: str
    servers: Servers
    lanes: Lanes
    waiting: Waiting
    running: int
    """Chunks."""
    items_waiting: int
    """Arrived in front of it, and in no running chunk."""
    items_in_flight: int
    items_remaining: int
    """With those that are still at an earlier stage."""
    items_per_s_in: float
    """Over the last minute: from the stage before it, or planned."""
    items_per_s_out: float
    """Over the last minute."""
    seconds_per_item: float
    """Of the model's time, of an average server: measured, else as the stage table has it."""
    item_s: Quantiles | None
    """Of the model's time on an item. Null: nothing was measured lately."""
    chunk_s: Quantiles | None
    """From the begin of a chunk on its lane to its end."""
    utilisation: float | None
    """Share of the last minute in which the ready servers computed: 0 to 1. Null: none is ready."""
    wait: Wait
    why_none: str
    """Why no server takes its chunks; empty while one does."""
    time_left_s: float | None
    """If it alone counted. Null: it has no server."""
    fewer: WhatIf | None
    """With one server less; null where it has none."""
    more: WhatIf
    """With one server more, as fast as the average one."""


class Bottleneck(_Told):
    """What the running batches wait for."""

    kind: Literal["none", "stage", "no_server", "plant", "unknown"]
    """`plant`: lanes stand idle although chunks wait, so what hands them out is the limit. `unknown`: Redis
    does not answer."""
    stage: str | None
    sentence: str
    """In English, with the evidence."""
    chunks_waiting: int
    servers: int
    utilisation: float | None
    time_left_s: float | None
    """Until the batches that are running end."""


class ChunkAt(_Told):
    """A chunk that a server has."""

    batch_id: str
    chunk_id: str


class ServerNow(_Told):
    """One model server, with the lanes that feed it."""

    server: str
    """As it is known all over the fleet: `generate-1@box`."""
    name: str
    host: str
    stage: str
    model: str
    state: str
    """loading, ready, draining, fenced, waiting, stopped."""
    since: float
    """Epoch seconds at which it came into that state."""
    reason: str
    """Why it is not ready."""
    last_end: str
    """Why it was last started anew."""
    starts: int
    """Of its process, since its supervisor started."""
    lanes: int
    chunks: list[ChunkAt]
    """What its lanes run."""
    items_per_s: float
    """Over the last minute."""
    usual_items_per_s: float | None
    """While it computes, on average; null before its first item."""
    errors: list[str]
    """Why chunks that it had were put back, as far as no other server has taken them."""
    device: str
    gpu: GpuStatus | None
    memory_mb: int
    memory_limit_mb: int
    canary_s: float | None
    """How long its last canary took."""
    told: float
    """When its supervisor told this, in epoch seconds."""


class BatchNow(_Told):
    """A batch that is running, or has ended lately."""

    outlook: Outlook
    """As `/darkroom/api/batches/{batch_id}` tells it: stages, hosts and their shares, time left and range; of
    the hosts only the ten with the largest shares."""
    hosts_left_out: int
    waits: list[str]
    """What keeps its stages waiting, a sentence each."""
    run_id: str | None
    run_state: str
    ended: float | None
    """When, in epoch seconds."""
    items_per_s: dict[str, list[float]]
    """By stage, one value for each of `Overview.slots`."""


class PictureNow(_Told):
    """A picture that was finished lately."""

    batch_id: str
    custom_id: str
    stage: str
    status: str
    """completed or rejected."""
    path: str
    """Below `/darkroom/`: `images/<stage>/<2 hex>/<key>.png`."""
    at: float
    """Epoch seconds."""


class Overview(_Told):
    """One look at the plant."""

    schema_version: Literal[1] = 1
    seen: float
    """When it was taken, in epoch seconds: looks are shared for a few seconds."""
    took_s: float
    """What it cost."""
    unknown: list[str]
    """Whom nobody could ask: redis, broker. What they know is missing below."""
    bottleneck: Bottleneck
    stages: list[StageNow]
    """Those that a running batch needs, or that have a server."""
    batches: list[BatchNow]
    """Running ones by name, then those that ended lately, the newest first."""
    batches_left_out: int
    """Running batches that are too many to be shown; they count everywhere else."""
    servers: list[ServerNow]
    last_progress: float | None = None
    """When a chunk of any batch told of itself last, in epoch seconds. Null: none did lately."""
    slots: list[float]
    """Begin of each time slot of `items_per_s`, in epoch seconds; the last one goes on."""
    slot_s: float
    pictures: list[PictureNow]
    """The newest first."""
