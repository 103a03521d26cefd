"""`skeleton`: say here what it does.

The plant imports this module wherever it parses DAGs, for the options below: import what is heavy (torch,
numpy, PIL) in `load()`.
"""

import hashlib
from io import BytesIO
from typing import Annotated, Any

from pydantic import Field

from darkroom.errors import InvalidItem, ItemError
from darkroom.stages.base import Output, Request
from darkroom.stages.batch import run_each
from darkroom.stages.options import Options, parse_as


class SkeletonOptions(Options):
    """What may be set per run and per item: the form shows it, and a wrong value never reaches the model."""

    side: Annotated[int, Field(ge=8, le=4096, description="Pixels a side where none are asked for.")] = 256


class Skeleton:
    """Say here what it paints. The same prompt, seed and options must give the same bytes."""

    device = "cpu"
    """Where it computes, for people: a model on a GPU says `cuda:0 ...` here after `load`."""

    def __init__(self) -> None:
        """Keep what [stages.skeleton.config] gives as keyword arguments; open and compute nothing yet."""

    def load(self) -> None:
        """Load the weights, once, in the process that will run them. What this raises is shown to you."""
        from PIL import Image

        self._pillow: Any = Image

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        """Answer every request, in the order of `batch`: a PNG, or an error where only that item fails.

        InvalidItem is the item's fault; after a StageFailed it is tried again. A model that computes a whole
        batch in one pass does so here, each item from its own seed, and needs no `run_each`.
        """
        return run_each(batch, self._run_one)

    def sample(self) -> Request:
        """A cheap request that takes the whole path: run every few seconds to see that it still works."""
        return Request("sample", prompt="anything", width=64, height=64)

    def _run_one(self, request: Request) -> Output:
        options = parse_as(SkeletonOptions, request.options)
        if not request.prompt:
            raise InvalidItem("prompt: skeleton needs one")
        size = (request.width or options.side, request.height or options.side)
        colour = hashlib.sha256(f"{request.seed} {request.prompt}".encode()).digest()[:3]
        buffer = BytesIO()
        self._pillow.new("RGB", size, tuple(colour)).save(buffer, "PNG")
        return Output(image=buffer.getvalue())
