"""Which of the vocabulary's colours a drawn picture shows, and where."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from darkroom.stages.caption import Colour, Scene, Shape

_SIDE = 64
_BORDER = 4
_SMALLEST_SHARE = 0.05
"""Less than this much of a shape's box in another colour than the background's is no shape."""

Names = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Colours:
    """What was found; None where there is nothing but background."""

    background: str
    shapes: tuple[str | None, ...]


def find_colours(image: Image.Image, scene: Scene, colours: dict[str, Colour]) -> Colours:
    """The colour of the background and of each shape of `scene`, by nearest colour of the vocabulary."""
    names = list(colours)
    nearest = _nearest(image, np.array(list(colours.values()), np.float64))
    frame = np.ones_like(nearest, dtype=bool)
    frame[_BORDER:-_BORDER, _BORDER:-_BORDER] = False
    background = int(np.bincount(nearest[frame]).argmax())
    found = tuple(_colour_of(shape, nearest, background) for shape in scene.shapes)
    return Colours(names[background], tuple(None if i is None else names[i] for i in found))


def _nearest(image: Image.Image, palette: npt.NDArray[np.float64]) -> Names:
    """The index of the nearest colour for each of 64 x 64 pixels, the size that the model draws."""
    pixels = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float64)
    indices: Names = ((pixels[:, :, None] - palette) ** 2).sum(3).argmin(2)
    return indices


def _colour_of(shape: Shape, nearest: Names, background: int) -> int | None:
    x, y = (round(part * _SIDE) for part in shape.centre)
    radius = round(shape.radius * _SIDE)
    box = nearest[max(y - radius, 0) : y + radius, max(x - radius, 0) : x + radius]
    other = box[box != background]
    if other.size < _SMALLEST_SHARE * box.size:
        return None
    return int(np.bincount(other).argmax())
