"""What can be measured on a picture without a model."""

import imagehash
import numpy as np
from PIL import Image

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

    By channel, because red on green of the same brightness has no edges in grey. After a mean over 3 x 3
    pixels, because rounding to 8 bits alone has a variance of 20/12 under a bare Laplacian, as much as a
    faint drawing.
    """
    pixels = np.pad(np.asarray(image, np.float64), ((2, 2), (2, 2), (0, 0)), mode="edge")
    rows = pixels[:-2] + pixels[1:-1] + pixels[2:]
    mean = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / 9
    centre = mean[1:-1, 1:-1]
    laplacian = mean[:-2, 1:-1] + mean[2:, 1:-1] + mean[1:-1, :-2] + mean[1:-1, 2:] - 4 * centre
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
