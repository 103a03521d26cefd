"""Draw the sheet of samples, `samples.png`: captions of each kind, and some that the evaluation found wrong.

`python -m models.shapes.samples`, after `python -m models.shapes.evaluate`.
"""

import json
import random
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from darkroom.flows import STAGES
from darkroom.stages.runtime import find_weights
from models.shapes.captions import SEED, Trial, captions_in_training, trials
from models.shapes.card import RESULTS
from models.shapes.data import SIDE
from models.shapes.evaluate import Candidate, Draughtsman

SHEET = Path(__file__).with_name("samples.png")
COLUMNS = 8
_ENLARGEMENT = 2
_TEXT_HEIGHT = 60
_TEXT_COLUMNS = 23
_FONT_SIZE = 11
_GAP = 8


def choose(asked: list[Trial], wrong: set[str]) -> list[Trial]:
    """Two rows of one figure and one of two, at random from what was right; a row of what was wrong."""
    right = [trial for trial in asked if trial.scene.caption not in wrong]
    one = [trial for trial in right if len(trial.scene.figures) == 1]
    two = [trial for trial in right if len(trial.scene.figures) > 1]
    rng = random.Random(SEED)  # noqa: S311
    failed = [trial for trial in asked if trial.scene.caption in wrong]
    return [*rng.sample(one, 2 * COLUMNS), *rng.sample(two, COLUMNS), *failed[:COLUMNS]]


def sheet(chosen: list[Trial], draughtsman: Draughtsman) -> Image.Image:
    """The pictures in rows, twice their size, each with its caption below."""
    side = SIDE * _ENLARGEMENT
    across, down = side + _GAP, side + _TEXT_HEIGHT
    rows = -(-len(chosen) // COLUMNS)
    paper = Image.new("RGB", (COLUMNS * across + _GAP, rows * down + _GAP), "white")
    pen = ImageDraw.Draw(paper)
    font = ImageFont.load_default(_FONT_SIZE)
    for number, trial in enumerate(chosen):
        x, y = _GAP + number % COLUMNS * across, _GAP + number // COLUMNS * down
        picture = Image.fromarray(draughtsman(trial))
        paper.paste(picture.resize((side, side), Image.Resampling.NEAREST), (x, y))
        pen.text((x, y + side), textwrap.fill(trial.scene.caption, _TEXT_COLUMNS), "black", font, spacing=1)
    return paper


def main() -> None:
    """Draw and write the sheet."""
    wrong = set(json.loads(RESULTS.read_text())["wrong"])
    stage = Candidate(find_weights(STAGES["generate"].model))
    stage.load()
    chosen = choose(trials(captions_in_training()), wrong)
    sheet(chosen, Draughtsman(stage)).save(SHEET, optimize=True)
    print(SHEET)


if __name__ == "__main__":
    main()
