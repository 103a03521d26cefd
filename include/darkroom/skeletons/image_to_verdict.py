"""`skeleton`: say here what it does.

The plant imports this module wherever it parses DAGs, for the options below: import what is heavy (torch,
numpy, PIL) in `load()`.
"""

from io import BytesIO
from typing import Annotated, Any

from pydantic import Field

from darkroom.errors import ItemError
from darkroom.records import Verdict
from darkroom.stages.base import Output, Request
from darkroom.stages.batch import run_each
from darkroom.stages.options import Options, parse_as


class SkeletonOptions(Options):
    """What may be set per run and per item: the form shows it, and a wrong value never reaches the model."""

    min_brightness: Annotated[
        float, Field(ge=0, le=255, description="Lowest mean brightness of a picture that is accepted.")
    ] = 20.0


class Skeleton:
    """Say here what it judges. The same request must give the same verdict, whatever the batch."""

    device = "cpu"
    """Where it computes, for people: a model on a GPU says `cuda:0 ...` here after `load`."""

    def __init__(self) -> None:
        """Keep what [stages.skeleton.config] gives as keyword arguments; open and compute nothing yet."""

    def load(self) -> None:
        """Load the weights, once, in the process that will run them. What this raises is shown to you."""
        from PIL import Image, ImageStat

        from darkroom.stages.decode import decode

        self._stat: Any = ImageStat
        self._decode = decode
        buffer = BytesIO()
        Image.new("RGB", (64, 64), "teal").save(buffer, "PNG")
        self._sample = buffer.getvalue()

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        """Answer every request, in the order of `batch`: a verdict, or an error where only that item fails.

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
        brightness = round(float(self._stat.Stat(picture.convert("L")).mean[0]), 2)
        reasons = ["too_dark"] if brightness < options.min_brightness else []
        verdict = Verdict(accepted=not reasons, reasons=reasons, checks={"brightness": brightness})
        return Output(verdict=verdict)
