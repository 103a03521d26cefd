"""Captioned pictures of coloured shapes: what the model is trained on and measured against.

`python -m models.shapes.data` writes the vocabulary, `models/shapes-vocabulary.json`.
"""

import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]
Pixels = npt.NDArray[np.uint8]

SIDE = 64
"""Pixels of a picture's side."""
MAX_TOKENS = 20
SPECIAL = ("<pad>", "<null>", "<unk>")
LITTLE_WORDS = ("a", "and", "on", "background", "at", "the")
COLOURS: dict[str, Colour] = {
    "red": (220, 40, 40),
    "green": (40, 170, 70),
    "blue": (45, 85, 220),
    "yellow": (245, 210, 50),
    "purple": (140, 60, 180),
    "orange": (245, 140, 40),
    "black": (25, 25, 25),
    "white": (245, 245, 245),
    "pink": (245, 140, 190),
    "cyan": (60, 200, 220),
}
SHAPES = ("circle", "square", "triangle", "star", "ring", "cross", "heart", "diamond")
SIZES = {"small": 0.13, "medium": 0.2, "large": 0.29}
"""Half the extent of a shape, as part of the picture's side."""
POSITIONS: dict[str, Point] = {
    "center": (0.5, 0.5),
    "left": (0.28, 0.5),
    "right": (0.72, 0.5),
    "top": (0.5, 0.28),
    "bottom": (0.5, 0.72),
}
PAIRS = (("left", "right"), ("top", "bottom"))
"""Where the two figures of a scene of two stand."""
PAIR_SIZE = "medium"
WORDS = (*SPECIAL, *LITTLE_WORDS, *COLOURS, *SHAPES, *SIZES, *POSITIONS)
"""A word's token is its place here."""

_OVERSAMPLING = 2
_SHARE_OF_ONE = 0.6
_SHARE_OF_NAMED_CENTER = 0.5
_SHARE_WITHOUT_CAPTION = 0.1


@dataclass(frozen=True, slots=True)
class Figure:
    """One coloured shape in a picture."""

    colour: str
    shape: str
    size: str
    position: str


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture in words: one figure, or two medium ones side by side."""

    figures: tuple[Figure, ...]
    background: str
    names_center: bool = True
    """Whether the caption says "at the center", or leaves it out."""

    @property
    def caption(self) -> str:
        """The sentence that asks for this picture."""
        if len(self.figures) == 1:
            (one,) = self.figures
            place = f" at the {one.position}" if one.position != "center" or self.names_center else ""
            return f"a {one.size} {one.colour} {one.shape}{place} on a {self.background} background"
        parts = " and ".join(f"a {one.colour} {one.shape} at the {one.position}" for one in self.figures)
        return f"{parts} on a {self.background} background"


def vocabulary() -> dict[str, object]:
    """What the generator must know beside the weights."""
    return {
        "tokens": {word: token for token, word in enumerate(WORDS)},
        "max_tokens": MAX_TOKENS,
        "colours_rgb": COLOURS,
        "shapes": SHAPES,
        "sizes": SIZES,
        "positions": POSITIONS,
        "image_size": SIDE,
    }


def vocabulary_json() -> str:
    """The vocabulary's file, byte by byte."""
    return json.dumps(vocabulary(), indent=1)


def encode(caption: str | None) -> list[int]:
    """The tokens of `caption`, or those that stand for none; as the stage `generate` makes them."""
    tokens = [SPECIAL.index("<null>")] if caption is None else list(map(WORDS.index, caption.split()))
    return tokens + [SPECIAL.index("<pad>")] * (MAX_TOKENS - len(tokens))


def random_scene(rng: random.Random) -> Scene:
    """One figure in six pictures of ten, two in the others; no figure has the background's colour."""
    background = rng.choice(list(COLOURS))
    colours = [name for name in COLOURS if name != background]
    if rng.random() < _SHARE_OF_ONE:
        colour, shape = rng.choice(colours), rng.choice(SHAPES)
        size, position = rng.choice(list(SIZES)), rng.choice(list(POSITIONS))
        named = position != "center" or rng.random() < _SHARE_OF_NAMED_CENTER
        return Scene((Figure(colour, shape, size, position),), background, named)
    places = rng.choice(PAIRS)
    figures = tuple(Figure(rng.choice(colours), rng.choice(SHAPES), PAIR_SIZE, place) for place in places)
    return Scene(figures, background)


def training_batches(rng: random.Random, size: int) -> Iterator[list[tuple[Scene, bool]]]:
    """Endless batches of scenes, and whether their caption is kept; the others teach to draw without one.

    The order of the draws from `rng` is part of the seed's meaning: change it, and it is another training.
    """
    while True:
        scenes = [random_scene(rng) for _ in range(size)]
        yield [(scene, rng.random() > _SHARE_WITHOUT_CAPTION) for scene in scenes]


def draw(scene: Scene) -> Pixels:
    """The picture of `scene`, [64, 64, 3]; each pixel is the mean of 2 x 2 drawn ones."""
    side = SIDE * _OVERSAMPLING
    background = COLOURS[scene.background]
    image = Image.new("RGB", (side, side), background)
    pen = ImageDraw.Draw(image)
    for figure in scene.figures:
        x, y = (part * side for part in POSITIONS[figure.position])
        _draw_figure(pen, figure, (x, y), SIZES[figure.size] * side, background)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX))


def _draw_figure(
    pen: ImageDraw.ImageDraw, figure: Figure, centre: Point, radius: float, background: Colour
) -> None:
    fill = COLOURS[figure.colour]
    x, y = centre
    match figure.shape:
        case "circle":
            pen.ellipse(_box(centre, radius), fill=fill)
        case "ring":
            pen.ellipse(_box(centre, radius), fill=fill)
            pen.ellipse(_box(centre, 0.55 * radius), fill=background)
        case "square":
            pen.rectangle(_box(centre, 0.88 * radius), fill=fill)
        case "triangle":
            pen.polygon(_corners(centre, [1.1 * radius] * 3), fill=fill)
        case "diamond":
            pen.polygon(_corners(centre, [1.1 * radius] * 4), fill=fill)
        case "star":
            pen.polygon(_corners(centre, [1.15 * radius, 1.15 * 0.42 * radius] * 5), fill=fill)
        case "cross":
            arm = 0.36 * radius
            pen.rectangle((x - arm, y - radius, x + arm, y + radius), fill=fill)
            pen.rectangle((x - radius, y - arm, x + radius, y + arm), fill=fill)
        case "heart":
            lobe, top = 1.12 * radius, y - 0.9 * radius
            pen.ellipse((x - radius, top, x - radius + lobe, top + lobe), fill=fill)
            pen.ellipse((x + radius - lobe, top, x + radius, top + lobe), fill=fill)
            shoulder = y - 0.1 * radius
            tip = (x, y + radius)
            pen.polygon([(x - 0.95 * radius, shoulder), (x + 0.95 * radius, shoulder), tip], fill=fill)
        case _:
            raise ValueError(f"no such shape: {figure.shape}")


def _box(centre: Point, radius: float) -> tuple[float, float, float, float]:
    x, y = centre
    return (x - radius, y - radius, x + radius, y + radius)


def _corners(centre: Point, radii: list[float]) -> list[Point]:
    """A polygon's corners, evenly around `centre`, the first one straight up."""
    turn = 2 * math.pi / len(radii)
    angles = [turn * i - math.pi / 2 for i in range(len(radii))]
    return [
        (centre[0] + radius * math.cos(angle), centre[1] + radius * math.sin(angle))
        for radius, angle in zip(radii, angles, strict=True)
    ]


if __name__ == "__main__":
    target = Path(__file__).parents[1] / "shapes-vocabulary.json"
    target.write_text(vocabulary_json())
    print(target)
