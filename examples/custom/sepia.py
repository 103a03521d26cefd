"""`sepia`: a picture in the brown of old prints."""

from io import BytesIO
from typing import Annotated, Any

from pydantic import Field

from darkroom.errors import ItemError
from darkroom.stages.base import Output, Request
from darkroom.stages.batch import run_each
from darkroom.stages.options import Options, parse_as

BROWN = (
    0.393, 0.769, 0.189, 0,
    0.349, 0.686, 0.168, 0,
    0.272, 0.534, 0.131, 0,
)  # fmt: skip
"""Red, green and blue of the result from those of the picture."""


class SepiaOptions(Options):
    """Options of `sepia`."""

    strength: Annotated[
        float, Field(ge=0, le=1, description="0 leaves the picture as it is, 1 is all brown.")
    ] = 1.0


class Sepia:
    """Image to image. The same picture and options give the same bytes."""

    def __init__(self, sample_side: int = 64) -> None:
        """Keep the row's `config`: here the side, in pixels, of the sample."""
        self._sample_side = sample_side

    def load(self) -> None:
        """Import what is heavy; a real model would read its weights here."""
        from PIL import Image

        from darkroom.stages.decode import decode

        self._pillow: Any = Image
        self._decode = decode
        self._sample = _png(Image.new("RGB", (self._sample_side, self._sample_side), "teal"))

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        """One PNG per picture, of the same size."""
        return run_each(batch, self._run_one)

    def sample(self) -> Request:
        """A small picture of one colour."""
        return Request("sample", image=self._sample)

    def _run_one(self, request: Request) -> Output:
        options = parse_as(SepiaOptions, request.options)
        picture = self._decode(request.image).image
        brown = picture.convert("RGB", BROWN)
        return Output(image=_png(self._pillow.blend(picture, brown, options.strength)))


def _png(picture: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
