"""What can be measured on a picture without a model."""

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float64]

_MEASURED_SIDE = 512
"""Pixels: larger pictures are reduced first, so that a limit means the same for all sizes."""


def reduced(image: Image.Image) -> Image.Image:
    """`image` with at most 512 pixels on its longer side, by the mean of the area."""
    longer = max(image.size)
    if longer <= _MEASURED_SIDE:
        return image
    width, height = (max(1, round(side * _MEASURED_SIDE / longer)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BOX)


def sharpness(image: Image.Image) -> float:
    """Variance of the Laplacian of the sharpest channel, in squared levels of 255 (Pech-Pacheco 2000).

    By channel, because red on green of the same brightness has no edges in grey.
    """
    pixels = np.pad(np.asarray(image, np.float64), ((1, 1), (1, 1), (0, 0)), mode="edge")
    laplacian = (
        pixels[:-2, 1:-1] + pixels[2:, 1:-1] + pixels[1:-1, :-2] + pixels[1:-1, 2:] - 4 * pixels[1:-1, 1:-1]
    )
    return float(laplacian.var((0, 1)).max())


def contrast(image: Image.Image) -> float:
    """Standard deviation of the most varied channel, in levels of 255."""
    return float(np.asarray(image, np.float64).std((0, 1)).max())


def entropy(image: Image.Image) -> float:
    """Bits per pixel of the grey histogram: 0 for a flat picture, at most 8."""
    return float(image.convert("L").entropy())


def perceptual_hash(image: Image.Image) -> str:
    """64 bits as 16 hex digits; near-duplicates differ in few bits."""
    return str(imagehash.phash(image))
