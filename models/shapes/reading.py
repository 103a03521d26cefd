"""Reads a picture without knowing its caption: background, and each figure's colour, shape, size, place.

Colours are the nearest of the vocabulary. The figures are those whose drawing, by the code that draws
the training pictures, overlaps best with what is not background. On pictures that are drawn and not
generated the reading is exact; `evaluate.py` checks that before it measures a model.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from models.shapes.data import (
    COLOURS,
    PAIR_SIZE,
    PAIRS,
    POSITIONS,
    SHAPES,
    SIDE,
    SIZES,
    Figure,
    Pixels,
    Scene,
    draw,
)

READABLE_OVERLAP = 0.6
"""Below this overlap a picture shows none of the things it might show."""

_FRAME = 4
_FOREIGN = 40.0
"""Distance in RGB; the two nearest colours of the vocabulary are 71 apart."""
_PALETTE = np.array(list(COLOURS.values()), np.float64)
_NAMES = list(COLOURS)

Coverage = npt.NDArray[np.float64]
"""How much of each pixel is the figure, 0 to 1, [64, 64]."""
Names = npt.NDArray[np.intp]
"""The index of each pixel's nearest colour, [64, 64]."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a picture shows; no figures where nothing can be made out."""

    background: str
    figures: tuple[Figure, ...]
    overlap: float
    """Intersection over union of what is not background and the best drawing, 0 to 1."""


@dataclass(frozen=True, slots=True)
class _Match:
    figure: Figure
    shared: float
    joint: float


def read(pixels: Pixels) -> Reading:
    """What [64, 64, 3] pixels show: the arrangement of one or two figures that overlaps best."""
    values = pixels.astype(np.float64)
    nearest: Names = ((values[:, :, None] - _PALETTE) ** 2).sum(3).argmin(2)
    background = _most_frequent(nearest[_frame()])
    best, overlap = [], 0.0
    for places in ((None,), *PAIRS):
        found = [_best_match(values, nearest, background, place) for place in places]
        matches = [match for match in found if match]
        if len(matches) < len(places):
            continue
        here = sum(match.shared for match in matches) / sum(match.joint for match in matches)
        if here > overlap:
            best, overlap = matches, here
    figures = tuple(match.figure for match in best) if overlap >= READABLE_OVERLAP else ()
    return Reading(_NAMES[background], figures, overlap)


def _best_match(
    values: npt.NDArray[np.float64], nearest: Names, background: int, place: str | None
) -> _Match | None:
    """The best figure in the half of the picture at `place`, or in all of it; None if all is background."""
    half = _half(place)
    others = nearest[half & (nearest != background)]
    if not others.size:
        return None
    colour = _most_frequent(others)
    coverage = _coverage(values, _PALETTE[background], _PALETTE[colour])[half]
    drawings = _drawings(place)
    masks = np.stack([mask[half] for mask in drawings.values()])
    shared, joint = np.minimum(masks, coverage).sum(1), np.maximum(masks, coverage).sum(1)
    best = int((shared / joint).argmax())
    shape, size, position = list(drawings)[best]
    return _Match(Figure(_NAMES[colour], shape, size, position), float(shared[best]), float(joint[best]))


def _coverage(values: npt.NDArray[np.float64], background: Coverage, colour: Coverage) -> Coverage:
    """Where each pixel lies on the line from `background` to `colour`: 0 at the one, 1 at the other.

    A pixel far from that line is neither of them nor an edge between them: it counts in full, so that a
    second figure of another colour can't be overlooked.
    """
    way = colour - background
    covered = np.clip((values - background) @ way / (way @ way), 0, 1)
    off = np.linalg.norm(values - background - covered[:, :, None] * way, axis=2)
    return np.where(off > _FOREIGN, 1.0, covered)


@cache
def _drawings(place: str | None) -> dict[tuple[str, str, str], Coverage]:
    """Every shape, size and position that may stand at `place`: all of them, or one of a pair."""
    wanted = [
        (shape, size, position)
        for shape in SHAPES
        for size in (SIZES if place is None else (PAIR_SIZE,))
        for position in (POSITIONS if place is None else (place,))
    ]
    black, white = np.array(COLOURS["black"], np.float64), np.array(COLOURS["white"], np.float64)
    return {
        key: _coverage(draw(Scene((Figure("white", *key),), "black")).astype(np.float64), black, white)
        for key in wanted
    }


@cache
def _half(place: str | None) -> npt.NDArray[np.bool_]:
    half = np.zeros((SIDE, SIDE), dtype=bool)
    middle = SIDE // 2
    rows, columns = {
        None: (slice(None), slice(None)),
        "left": (slice(None), slice(0, middle)),
        "right": (slice(None), slice(middle, SIDE)),
        "top": (slice(0, middle), slice(None)),
        "bottom": (slice(middle, SIDE), slice(None)),
    }[place]
    half[rows, columns] = True
    return half


@cache
def _frame() -> npt.NDArray[np.bool_]:
    frame = np.ones((SIDE, SIDE), dtype=bool)
    frame[_FRAME:-_FRAME, _FRAME:-_FRAME] = False
    return frame


def _most_frequent(indices: Names) -> int:
    return int(np.bincount(indices.ravel()).argmax())
