"""Run a convolutional model over a large picture piece by piece, without seams."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float32]


def enlarge_in_tiles(
    pixels: Pixels, model: Callable[[Pixels], Pixels], factor: int, tile: int, halo: int
) -> Pixels:
    """`model` over `pixels` [3, h, w], giving [3, h * factor, w * factor], in pieces of at most `tile`.

    Each tile sees `halo` pixels more on every side and gives only its core. With a halo as wide as the
    model's receptive field a core pixel can't tell a tile from the whole picture, so the cores meet
    exactly and there is nothing to blend; a blend would only soften what lies under it.

    Args:
        pixels: [3, h, w], 0 to 1.
        model: [1, 3, h, w] to [1, 3, h * factor, w * factor].
        factor: what the model multiplies each side by.
        tile: side of a core, in input pixels; bounds the memory.
        halo: radius of the model's receptive field, in input pixels.
    """
    _, height, width = pixels.shape
    result = np.empty((3, height * factor, width * factor), np.float32)
    for top, bottom in _spans(height, tile):
        for left, right in _spans(width, tile):
            y, x = max(top - halo, 0), max(left - halo, 0)
            piece = pixels[:, y : bottom + halo, x : right + halo]
            large = model(np.ascontiguousarray(piece[None]))[0]
            rows = slice((top - y) * factor, (bottom - y) * factor)
            columns = slice((left - x) * factor, (right - x) * factor)
            result[:, top * factor : bottom * factor, left * factor : right * factor] = large[
                :, rows, columns
            ]
    return result


def _spans(length: int, tile: int) -> Iterator[tuple[int, int]]:
    """Equal pieces of at most `tile`, so that no sliver pays for a whole halo."""
    count = -(-length // tile)
    edges = [length * i // count for i in range(count + 1)]
    return itertools.pairwise(edges)
