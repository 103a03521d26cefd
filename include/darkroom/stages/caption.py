"""The language of the shapes model: its words, its tokens, and what a caption says of the picture.

Captions read like "a large red circle at the left on a white background" and
"a red triangle at the left and a blue ring at the right on a white background".
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

Colour = tuple[int, int, int]
_UNKNOWN = 2
_PUNCTUATION = ".,;:!?\"'()"


@dataclass(frozen=True, slots=True)
class Shape:
    """One object that a caption asks for."""

    colour: str
    centre: tuple[float, float]
    """x and y as parts of the picture's sides."""
    radius: float
    """Half its extent, as part of the picture's side."""


@dataclass(frozen=True, slots=True)
class Scene:
    """All that a caption asks for."""

    shapes: tuple[Shape, ...]
    background: str


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words that the model was trained on, and what they look like."""

    tokens: dict[str, int]
    max_tokens: int
    colours: dict[str, Colour]
    shapes: frozenset[str]
    sizes: dict[str, float]
    positions: dict[str, tuple[float, float]]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the JSON that lies beside the weights."""
        data = json.loads(path.read_text())
        return cls(
            tokens=data["tokens"],
            max_tokens=data["max_tokens"],
            colours={name: tuple(rgb) for name, rgb in data["colours_rgb"].items()},
            shapes=frozenset(data["shapes"]),
            sizes=data["sizes"],
            positions={name: tuple(xy) for name, xy in data["positions"].items()},
        )

    def encode(self, caption: str) -> list[int]:
        """`max_tokens` ids: unknown words are 2, the end is filled with 0, what is beyond is cut off."""
        ids = [self.tokens.get(word, _UNKNOWN) for word in words_of(caption)][: self.max_tokens]
        return ids + [0] * (self.max_tokens - len(ids))

    def unconditional(self) -> list[int]:
        """The ids that stand for no caption, which guidance leads away from."""
        return [self.tokens["<null>"]] + [0] * (self.max_tokens - 1)

    def unknown_words(self, caption: str) -> list[str]:
        """The words that the model has never seen, each once, in the order of the caption."""
        unknown = (word for word in words_of(caption) if word not in self.tokens or word[0] == "<")
        return list(dict.fromkeys(unknown))

    def parse(self, caption: str) -> Scene | None:
        """What the caption asks for; None when it isn't a sentence of the form above."""
        words = words_of(caption)
        if len(words) > self.max_tokens or "on" not in words:
            return None
        on = len(words) - 1 - words[::-1].index("on")
        background = [word for word in words[on:] if word in self.colours]
        if words[-1] != "background" or len(background) != 1:
            return None
        parts = " ".join(words[:on]).split(" and ")
        shapes = [self._parse_shape(part.split()) for part in parts]
        if None in shapes:
            return None
        return Scene(tuple(shape for shape in shapes if shape), background[0])

    def _parse_shape(self, words: list[str]) -> Shape | None:
        colours = [word for word in words if word in self.colours]
        if len(colours) != 1 or sum(word in self.shapes for word in words) != 1:
            return None
        centre = next((self.positions[word] for word in words if word in self.positions), (0.5, 0.5))
        radius = next((self.sizes[word] for word in words if word in self.sizes), self.sizes["medium"])
        return Shape(colours[0], centre, radius)


def words_of(caption: str) -> list[str]:
    """Lower-case words without punctuation."""
    stripped = (word.strip(_PUNCTUATION) for word in caption.lower().split())
    return [word for word in stripped if word]
