"""`skeleton`: say here what it does.

The plant imports this module wherever it parses DAGs, for the options below: import what is heavy (torch,
numpy, PIL) in `load()`.
"""

from io import BytesIO
from typing import Annotated, Any

from pydantic import Field

from darkroom.errors import ItemError
from darkroom.stages.base import Output, Request
from darkroom.stages.batch import run_each
from darkroom.stages.options import Options, parse_as


class SkeletonOptions(Options):
    """What may be set per run and per item: the form shows it, and a wrong value never reaches the model."""

    saturation: Annotated[float, Field(ge=0, le=4, description="0 is grey, 1 leaves the colours.")] = 0.0


class Skeleton:
    """Say here what it makes of what. The same request must give the same bytes, whatever the batch."""

    device = "cpu"
    """Where it computes, for people: a model on a GPU says `cuda:0 ...` here after `load`."""

    def __init__(self) -> None:
        """Keep what [stages.skeleton.config] gives as keyword arguments; open and compute nothing yet."""

    def load(self) -> None:
        """Load the weights, once, in the process that will run them. What this raises is shown to you."""
        from PIL import Image, ImageEnhance

        from darkroom.stages.decode import decode

        self._enhance: Any = ImageEnhance
        self._decode = decode
        self._sample = _png(Image.new("RGB", (64, 64), "teal"))

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        """Answer every request, in the order of `batch`: a PNG, or an error where only that item fails.

        InvalidItem and InvalidImage are the item's fault; after a StageFailed it is tried again. A model
        that computes a whole batch in one pass does so here, and needs no `run_each`.
        """
        return run_each(batch, self._run_one)

    def sample(self) -> Request:
        """A cheap request that takes the whole path: run every few seconds to see that it still works."""
        return Request("sample", image=self._sample)

    def _run_one(self, request: Request) -> Output:
        options = parse_as(SkeletonOptions, request.options)
        picture = self._decode(request.image).image
        return Output(image=_png(self._enhance.Color(picture).enhance(options.saturation)))


def _png(picture: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
