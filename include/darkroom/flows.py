"""Which stages there are and which flow chains them: data, not code.

The stage table is the single place for a stage's queue, pool, capacity and limits; the flow table
is the single place for what can be started. The form, the DAGs, the pools, the workers and the
servers are all derived from these two.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Stage:
    """One model at work. `servers * lanes_per_server` task instances of it run at once."""

    name: str
    letter: str
    summary: str
    implementation: str
    """Where its class is: `module:Class`, imported only by the model server."""
    model: str
    """Name and version of its weights: part of every image's key, so new weights give new images."""
    takes: Literal["prompt", "image"]
    gives: Literal["image", "verdict"]
    servers: int
    lanes_per_server: int
    """A second lane hides the gap between two chunks and adds no capacity."""
    batch_size: int
    """Items in one forward pass, at most."""
    seconds_per_item: float
    """What planning assumes until a rate has been measured."""
    deadline_s: float
    """A request that takes longer means that the server hangs."""
    chunk_timeout_s: int
    """Airflow's `execution_timeout` of one chunk."""

    @property
    def queue(self) -> str:
        """The Celery queue that its workers take chunks from."""
        return f"gpu.{self.name}"

    @property
    def pool(self) -> str:
        """The Airflow pool whose slots equal its lanes."""
        return f"gpu_{self.name}"

    @property
    def lanes(self) -> int:
        """Chunks at work at once over all servers."""
        return self.servers * self.lanes_per_server


@dataclass(frozen=True, slots=True)
class Flow:
    """A path through stages."""

    name: str
    summary: str
    stages: tuple[str, ...]

    @property
    def group_id(self) -> str:
        """Its task group in the DAG: `a`, `a_c`, `b_c`."""
        return self.name.lower()

    @property
    def takes(self) -> Literal["prompt", "image"]:
        """What an item must bring."""
        return STAGES[self.stages[0]].takes


STAGES: dict[str, Stage] = {
    stage.name: stage
    for stage in (
        Stage(
            name="generate", letter="A", summary="text to image",
            implementation="darkroom.stages.generate:Generate",
            model="shapes-flow-64@f289156f", takes="prompt", gives="image",
            servers=1, lanes_per_server=2, batch_size=8,
            seconds_per_item=0.15, deadline_s=120, chunk_timeout_s=3600,
        ),
        Stage(
            name="enhance", letter="B", summary="decode safely, clean up, enlarge four times",
            implementation="darkroom.stages.enhance:Enhance",
            model="realesr-animevideov3-x4@39b8b815", takes="image", gives="image",
            servers=1, lanes_per_server=2, batch_size=2,
            seconds_per_item=2.0, deadline_s=300, chunk_timeout_s=3600,
        ),
        Stage(
            name="inspect", letter="C", summary="is it acceptable, and what is on it",
            implementation="darkroom.stages.inspect:Inspect",
            model="open-nsfw@2016+metrics@1", takes="image", gives="verdict",
            servers=2, lanes_per_server=1, batch_size=4,
            seconds_per_item=0.1, deadline_s=120, chunk_timeout_s=3600,
        ),
    )
}  # fmt: skip

FLOWS: dict[str, Flow] = {
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
"""The queue of light work: plan, collect, deliver."""


def queues() -> list[str]:
    """Every queue that has a worker; a task on any other would wait for ever."""
    return [DEFAULT_QUEUE, *(stage.queue for stage in STAGES.values())]
