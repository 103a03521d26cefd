"""The captions that the model is measured on: every combination evenly, from a seed of their own."""

import random
from dataclasses import dataclass
from itertools import cycle, islice, permutations, product

from models.shapes.data import (
    COLOURS,
    PAIR_SIZE,
    PAIRS,
    POSITIONS,
    SHAPES,
    SIZES,
    Figure,
    Scene,
    training_batches,
)

SEED = 20_250_601
"""Of the captions and, counted on from it, of the noise; the training's is another."""
TRAINING_SEED = 0
TRAINING_STEPS = 11_443
"""Of the weights that ship."""
BATCH = 48

_ONE_REPEATS = 6
_PAIR_REPEATS = 4


@dataclass(frozen=True, slots=True)
class Trial:
    """A scene to ask for, and the seed of the noise that its picture starts from."""

    scene: Scene
    seed: int


def trials(seen: frozenset[str], seed: int = SEED) -> list[Trial]:
    """720 scenes of one figure, then 512 of two whose captions are not in `seen`; no caption twice."""
    scenes = [*scenes_of_one(seed), *scenes_of_two(seen, seed)]
    return [Trial(scene, seed + number) for number, scene in enumerate(scenes)]


def scenes_of_one(seed: int) -> list[Scene]:
    """720 scenes of one figure: each shape, size and position six times, each pair of colours eight times."""
    rng = random.Random(seed)  # noqa: S311
    pairs = list(permutations(COLOURS, 2))
    rng.shuffle(pairs)
    apart = len(pairs) // _ONE_REPEATS
    scenes = []
    for number, (shape, size, position) in enumerate(product(SHAPES, SIZES, POSITIONS)):
        for repeat in range(_ONE_REPEATS):
            colour, background = pairs[(number + apart * repeat) % len(pairs)]
            names_center = position != "center" or repeat % 2 == 0
            scenes.append(Scene((Figure(colour, shape, size, position),), background, names_center))
    return scenes


def scenes_of_two(seen: frozenset[str], seed: int) -> list[Scene]:
    """512 scenes of two figures, none with a caption in `seen`: each pair of shapes eight times."""
    rng = random.Random(seed + 1)  # noqa: S311
    wanted = list(product(PAIRS, SHAPES, SHAPES)) * _PAIR_REPEATS
    backgrounds = list(islice(cycle(COLOURS), len(wanted)))
    rng.shuffle(backgrounds)
    scenes: dict[str, Scene] = {}
    for (places, *shapes), background in zip(wanted, backgrounds, strict=True):
        others = [colour for colour in COLOURS if colour != background]
        candidates = [
            Scene(tuple(map(Figure, colours, shapes, (PAIR_SIZE,) * 2, places)), background)
            for colours in product(others, repeat=2)
        ]
        scene = rng.choice([it for it in candidates if it.caption not in seen and it.caption not in scenes])
        scenes[scene.caption] = scene
    return list(scenes.values())


def captions_in_training(steps: int = TRAINING_STEPS) -> frozenset[str]:
    """The captions of the first `steps` batches of the training, drawn again from its seed."""
    batches = training_batches(random.Random(TRAINING_SEED), BATCH)  # noqa: S311
    return frozenset(scene.caption for batch in islice(batches, steps) for scene, _ in batch)
