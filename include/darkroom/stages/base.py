"""What a stage is: a class with `load()` and `run(batch)`. It knows nothing of queues, files or Airflow."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from darkroom.errors import ItemError
from darkroom.records import Verdict


@dataclass(frozen=True, slots=True)
class Request:
    """One item as the model sees it."""

    custom_id: str
    prompt: str | None = None
    """Also set for `inspect` behind `generate`: what the picture should show."""
    image: bytes = b""
    """The encoded input picture; empty for a prompt."""
    seed: int = 0
    width: int | None = None
    height: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    """The run's options for this stage, the item's own over them; unknown keys are an `InvalidItem`."""


@dataclass(frozen=True, slots=True)
class Output:
    """What the model made of one item: a PNG, or a verdict."""

    image: bytes = b""
    verdict: Verdict | None = None
    details: dict[str, Any] = field(default_factory=dict)
    seconds: float = field(default=0.0, compare=False)
    """Its share of the time that the model took for its batch; filled in by the server."""


class StageModel(Protocol):
    """A model at work in its server."""

    def load(self) -> None:
        """Load the weights, once, in the process that will run them."""

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        """One forward pass; answers stand in the order of `batch`, an error only for its own item."""

    def sample(self) -> Request:
        """A cheap request that exercises the whole path: warm-up and canary."""
