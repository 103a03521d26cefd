"""`enhance`: decode an uploaded picture safely, clean it up, enlarge it.

Real-ESRGAN animevideov3 (Wang et al. 2021, arXiv:2107.10833). It is perceptual: it invents detail, and
its PSNR is below bicubic's.
"""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from darkroom.errors import InvalidItem, ItemError
from darkroom.flows import STAGES
from darkroom.stages.base import Output, Request
from darkroom.stages.batch import run_each
from darkroom.stages.decode import decode
from darkroom.stages.options import ENLARGEMENT, EnhanceOptions, parse_as
from darkroom.stages.runtime import device_of, find_weights, open_session
from darkroom.stages.tiling import Pixels, enlarge_in_tiles

TILE = 384
"""Pixels: bounds the memory; one activation of a piece with its halo takes 45 MB."""
HALO = 18
"""Pixels: 18 convolutions of 3 x 3 see that far, no farther (measured: a changed column changes 37)."""


class Enhance:
    """Any allowed picture to a larger, cleaner PNG: RGB in sRGB, upright, on white, without metadata."""

    def load(self) -> None:
        """Load the weights.

        Raises:
            WrongWeights: the file is not the one in the stage table.
        """
        self._session: Any = open_session(find_weights(STAGES["enhance"].model))
        self.device = device_of(self._session)

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        """One PNG per picture, `scale` times its (reduced) size.

        `details`: `format`, `original` and `input` as [width, height], `notes` on what was ignored.
        """
        return run_each(batch, self._run_one)

    def sample(self) -> Request:
        """A small grey picture."""
        buffer = BytesIO()
        Image.new("RGB", (32, 32), "grey").save(buffer, "PNG")
        return Request("canary", image=buffer.getvalue())

    def _run_one(self, request: Request) -> Output:
        if request.width or request.height:
            raise InvalidItem(
                "width, height: enhance keeps a picture's shape; use options.scale and max_side"
            )
        options = parse_as(EnhanceOptions, request.options)
        picture = decode(request.image, options.max_pixels)
        image = _reduce(picture.image, options.max_side)
        enhanced = self._enlarge(image, options.scale)
        buffer = BytesIO()
        # Level 6 would take as long as a tenth of the model for a few per cent.
        enhanced.save(buffer, "PNG", compress_level=4)
        details = {
            "format": picture.format,
            "original": list(picture.image.size),
            "input": list(image.size),
            "notes": list(picture.notes),
        }
        return Output(image=buffer.getvalue(), details=details)

    def _enlarge(self, image: Image.Image, scale: int) -> Image.Image:
        pixels = np.asarray(image, np.float32).transpose(2, 0, 1) / np.float32(255)
        large = enlarge_in_tiles(pixels, self._infer, ENLARGEMENT, TILE, HALO)
        large = _mean_of_blocks(large, ENLARGEMENT // scale)
        values = (np.clip(large, 0, 1) * 255 + 0.5).astype(np.uint8)
        return Image.fromarray(values.transpose(1, 2, 0))

    def _infer(self, pixels: Pixels) -> Pixels:
        output: Pixels = self._session.run(None, {"data": pixels})[0]
        return output


def _reduce(image: Image.Image, max_side: int) -> Image.Image:
    """At most `max_side` on the longer side, at least 1 on the shorter."""
    longer = max(image.size)
    if longer <= max_side:
        return image
    width, height = (max(1, round(side * max_side / longer)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def _mean_of_blocks(pixels: Pixels, side: int) -> Pixels:
    """[3, h, w] to [3, h / side, w / side], each the mean of a block."""
    if side == 1:
        return pixels
    channels, height, width = pixels.shape
    blocks = pixels.reshape(channels, height // side, side, width // side, side)
    means: Pixels = blocks.mean((2, 4), dtype=np.float32)
    return means
