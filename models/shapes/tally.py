"""Counts what the pictures got right, by kind of scene and by property, and which shape passed for which."""

from collections import Counter
from dataclasses import dataclass, field

from models.shapes.data import SHAPES, Scene
from models.shapes.reading import Reading

NOTHING = "nothing"
KINDS = {1: "one figure", 2: "two figures"}
PROPERTIES = ("background", "colour", "shape", "position", "size", "everything")

Score = dict[str, int]
"""`right` and `of`."""


@dataclass
class Tally:
    """The count. Of two figures the caption names no size, so none is counted."""

    right: Counter[tuple[str, str]] = field(default_factory=Counter)
    total: Counter[tuple[str, str]] = field(default_factory=Counter)
    shapes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Asked for and found."""
    overlaps: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """The captions whose picture has something wrong."""

    def add(self, scene: Scene, reading: Reading) -> None:
        """Count one picture; where the number of figures differs, all that concerns them is wrong."""
        kind = KINDS[len(scene.figures)]
        complete = len(reading.figures) == len(scene.figures)
        found = reading.figures if complete else (None,) * len(scene.figures)
        names = ("colour", "shape", "position", "size") if len(scene.figures) == 1 else PROPERTIES[1:4]
        for wanted, figure in zip(scene.figures, found, strict=True):
            self.shapes[wanted.shape, figure.shape if figure else NOTHING] += 1
            for name in names:
                right = figure is not None and getattr(figure, name) == getattr(wanted, name)
                self._count(kind, name, right)
        background = reading.background == scene.background
        everything = background and reading.figures == scene.figures
        self._count(kind, "background", background)
        self._count(kind, "everything", everything)
        self.overlaps.append(reading.overlap)
        if not everything:
            self.wrong.append(scene.caption)

    def scores(self) -> dict[str, dict[str, Score]]:
        """Right and of how many, by property and kind; `all` adds both kinds up."""
        table: dict[str, dict[str, Score]] = {}
        for name in PROPERTIES:
            row = {
                kind: {"right": self.right[kind, name], "of": self.total[kind, name]}
                for kind in KINDS.values()
                if self.total[kind, name]
            }
            everywhere = {key: sum(score[key] for score in row.values()) for key in ("right", "of")}
            table[name] = {**row, "all": everywhere}
        return table

    def confusion(self) -> dict[str, dict[str, int]]:
        """For each shape that was asked for, what was found and how often."""
        return {
            wanted: {
                found: self.shapes[wanted, found]
                for found in (*SHAPES, NOTHING)
                if self.shapes[wanted, found]
            }
            for wanted in SHAPES
        }

    def _count(self, kind: str, name: str, right: bool) -> None:
        self.total[kind, name] += 1
        self.right[kind, name] += right
