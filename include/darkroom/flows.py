"""Which stages there are and which flow chains them: data, not code.

The stage table is the single place for a stage's queue, pool, capacity and limits; the flow table
is the single place for what can be started. The form, the DAGs, the pools, the workers and the
servers are all derived from these two. Your own rows, and changes to these, stand in `darkroom.toml`.
"""

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from darkroom.errors import BadRequest
from darkroom.settings import config_file, settings

_STRICT = ConfigDict(extra="forbid")
_ClassName = Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


@dataclass(frozen=True, slots=True, config=_STRICT)
class Stage:
    """One model at work. `servers * lanes_per_server` task instances of it run at once."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    summary: Annotated[str, Field(min_length=1, max_length=200)]
    implementation: _ClassName
    """Where its class is: `module:Class`, imported only by the model server."""
    model: Annotated[str, Field(min_length=1, max_length=200)]
    """Name and version of its weights: part of every image's key, so new weights give new images."""
    takes: Literal["prompt", "image"]
    gives: Literal["image", "verdict"]
    memory_mb: Annotated[int, Field(ge=1)]
    """The most a server may take on its device (of the GPU's memory, or of RAM where there is none): what
    is packed on one GPU must fit together, and a server that grows beyond it is replaced."""
    seconds_per_item: Annotated[float, Field(gt=0)]
    """What planning assumes until a rate has been measured."""
    servers: Annotated[int, Field(ge=0)] = 1
    """Servers that `darkroom up` starts on its own machine; `darkroom worker` adds others."""
    lanes_per_server: Annotated[int, Field(ge=1)] = 2
    """A second lane hides the gap between two chunks and adds no capacity."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    """Items in one forward pass, at most."""
    deadline_s: Annotated[float, Field(gt=0)] = 120
    """A request that takes longer, the batches before it included, means that the server hangs."""
    load_s: Annotated[float, Field(gt=0)] = 600
    """Loading the weights and a first sample take no longer, or the server hangs."""
    chunk_timeout_s: Annotated[int, Field(ge=1)] = 7200
    """Airflow's `execution_timeout` of one chunk."""
    options: _ClassName | None = None
    """Where its options model is: `module:Class`. Imported wherever DAGs are parsed, so it must be light."""
    config: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of its class: a folder of weights, a precision, an address."""

    @property
    def queue(self) -> str:
        """The Celery queue that its workers take chunks from."""
        return f"gpu.{self.name}"

    @property
    def pool(self) -> str:
        """The Airflow pool whose slots equal its live lanes."""
        return f"gpu_{self.name}"

    @property
    def now_queue(self) -> str:
        """The Celery queue of its chunks that somebody waits for: never behind bulk."""
        return f"{self.queue}.now"

    @property
    def now_pool(self) -> str:
        """The Airflow pool of those, with a slot for every live server."""
        return f"{self.pool}_now"

    @property
    def batches_in_flight(self) -> int:
        """What may stand before a server at once: a batch a lane, one that is sent ahead, and a canary."""
        return self.lanes_per_server + 2

    @property
    def drain_s(self) -> int:
        """How long a lane may take to end what it has in flight, if half as fast as the table says."""
        return 30 + round(2 * self.batches_in_flight * self.batch_size * self.seconds_per_item)

    @property
    def lanes(self) -> int:
        """Chunks at work at once over the servers that `darkroom up` starts."""
        return self.servers * self.lanes_per_server


@dataclass(frozen=True, slots=True, config=_STRICT)
class Flow:
    """A path through stages."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,60}$")]
    summary: Annotated[str, Field(min_length=1, max_length=200)]
    stages: Annotated[tuple[str, ...], Field(min_length=1)]

    @property
    def group_id(self) -> str:
        """Its task group in the DAG: `a`, `a_c`, `b_c`."""
        return self.name.lower()

    @property
    def takes(self) -> Literal["prompt", "image"]:
        """What an item must bring."""
        return STAGES[self.stages[0]].takes


SHIPPED_STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            name="generate", summary="A: text to image",
            implementation="darkroom.stages.generate:Generate",
            options="darkroom.stages.options:GenerateOptions",
            model="shapes-flow-64@f289156f", takes="prompt", gives="image", memory_mb=600,
            servers=1, lanes_per_server=2, batch_size=8,
            seconds_per_item=0.15, deadline_s=120,
        ),
        Stage(
            name="enhance", summary="B: decode safely, clean up, enlarge four times",
            implementation="darkroom.stages.enhance:Enhance",
            options="darkroom.stages.options:EnhanceOptions",
            model="realesr-animevideov3-x4@39b8b815", takes="image", gives="image", memory_mb=3000,
            servers=1, lanes_per_server=2, batch_size=2,
            seconds_per_item=2.0, deadline_s=300,
        ),
        Stage(
            name="inspect", summary="C: is it acceptable, and what is on it",
            implementation="darkroom.stages.inspect:Inspect",
            options="darkroom.stages.options:InspectOptions",
            model="open-nsfw@2016+metrics@1", takes="image", gives="verdict", memory_mb=1500,
            servers=2, lanes_per_server=1, batch_size=4,
            seconds_per_item=0.1, deadline_s=120,
        ),
    )
}  # fmt: skip

SHIPPED_FLOWS: dict[str, Flow] = {
    flow.name: flow
    for flow in (
        Flow("A", "generate pictures from prompts", ("generate",)),
        Flow("A_C", "generate pictures, then inspect them", ("generate", "inspect")),
        Flow("B_C", "enhance uploaded pictures, then inspect them", ("enhance", "inspect")),
    )
}

DEFAULT_FLOW = "A_C"
"""What runs when nobody says otherwise."""
DEFAULT_QUEUE = "default"
"""The queue of light work: plan, collect, verdict."""
LIGHT_POOL = "light"
"""The pool of light work but that of interactive runs: one slot of its worker stays free for those."""


def merge_stages(shipped: Mapping[str, Stage], rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Stage]:
    """The shipped stages with a user's rows over them: a row of a known name changes only what it names.

    Raises:
        BadRequest: a field is unknown, missing or out of its limits; the message names row and field.
    """
    merged = dict(shipped)
    for name, row in rows.items():
        before = shipped.get(name)
        if before and "model" not in row and {"implementation", "config"} & row.keys():
            raise BadRequest(
                f"{config_file()}: stages.{name}.model: say what the pictures are made with now; it is part "
                f"of every picture's key, and {before.model!r} would mix old and new ones"
            )
        known = {f.name: getattr(before, f.name) for f in fields(Stage)} if before else {}
        # Options of another class are not those of the shipped one.
        if "implementation" in row:
            known.pop("options", None)
        merged[name] = _row(Stage, "stages", name, {**known, **row})
    return merged


def merge_flows(
    shipped: Mapping[str, Flow], rows: Mapping[str, Mapping[str, Any]], stages: Mapping[str, Stage]
) -> dict[str, Flow]:
    """The shipped flows and a user's; a flow must be a chain that its stages allow.

    Raises:
        BadRequest: as `merge_stages`, or a flow can't run as it stands.
    """
    merged = {**shipped, **{name: _row(Flow, "flows", name, row) for name, row in rows.items()}}
    groups: dict[str, str] = {}
    for flow in merged.values():
        where = f"{config_file()}: flows.{flow.name}"
        if unknown := [name for name in flow.stages if name not in stages]:
            raise BadRequest(f"{where}.stages: no stage {unknown[0]!r}; there are: {', '.join(stages)}")
        if len(set(flow.stages)) < len(flow.stages):
            raise BadRequest(f"{where}.stages: a stage may stand in a flow only once")
        if late := [name for name in flow.stages[1:] if stages[name].takes == "prompt"]:
            raise BadRequest(f"{where}.stages: {late[0]} takes a prompt, so it can only stand first")
        if (other := groups.setdefault(flow.group_id, flow.name)) != flow.name:
            raise BadRequest(f"{where}: differs from flow {other} only in upper and lower case")
    return merged


def _row(kind: type[Any], table: str, name: str, row: Mapping[str, Any]) -> Any:
    try:
        return TypeAdapter(kind).validate_python({**row, "name": name})
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        where = ".".join([table, name, *(str(part) for part in detail["loc"] if part != "name")])
        what = detail["msg"]
        if detail["type"] == "unexpected_keyword_argument":
            known = [f.name for f in fields(kind) if f.name != "name"]
            what = f"there is no such field; there are: {', '.join(known)}"
        raise BadRequest(f"{config_file()}: {where}: {what}") from error


STAGES = merge_stages(SHIPPED_STAGES, settings().stages)
FLOWS = merge_flows(SHIPPED_FLOWS, settings().flows, STAGES)


def queues() -> list[str]:
    """Every queue that has a worker; a task on any other would wait for ever."""
    of_stages = [queue for stage in STAGES.values() for queue in (stage.queue, stage.now_queue)]
    return [DEFAULT_QUEUE, *of_stages]
