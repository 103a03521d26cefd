"""How often a picture shows what its caption says, measured on what the stage `generate` serves.

The reader (`reading.py`) is measured first, on drawn instead of generated pictures of the same captions:
it must get every one right. Needs what Darkroom itself needs, no torch.
"""

import argparse
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from darkroom.flows import STAGES
from darkroom.settings import settings
from darkroom.stages.base import Output, Request
from darkroom.stages.caption import Vocabulary
from darkroom.stages.generate import Generate
from darkroom.stages.options import GenerateOptions
from darkroom.stages.runtime import find_weights, open_session
from models.shapes.captions import SEED, TRAINING_STEPS, Trial, captions_in_training, trials
from models.shapes.card import RESULTS, figures
from models.shapes.data import SIDE, Pixels, draw
from models.shapes.reading import READABLE_OVERLAP, read
from models.shapes.tally import KINDS, Tally


class Candidate(Generate):
    """The stage with weights of one's own choice, which needn't be in the stage table."""

    def __init__(self, weights: Path) -> None:
        self._weights = weights

    def load(self) -> None:
        """Load `weights` without a check of their hash."""
        self._session = open_session(self._weights)
        self._vocabulary = Vocabulary.read(settings().models / "shapes-vocabulary.json")


@dataclass
class Draughtsman:
    """Makes pictures with the stage and notes how long each took, the PNG included."""

    stage: Generate
    options: dict[str, Any] = field(default_factory=dict)
    wall_ms: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)

    def __call__(self, trial: Trial) -> Pixels:
        """The picture, in the size that the model draws."""
        request = Request(
            str(trial.seed),
            prompt=trial.scene.caption,
            seed=trial.seed,
            width=SIDE,
            height=SIDE,
            options=self.options,
        )
        wall, cpu = time.perf_counter(), time.process_time()
        (output,) = self.stage.run([request])
        self.wall_ms.append(1e3 * (time.perf_counter() - wall))
        self.cpu_ms.append(1e3 * (time.process_time() - cpu))
        if not isinstance(output, Output):
            raise output
        return np.asarray(Image.open(BytesIO(output.image)).convert("RGB"))


def measure(asked: Iterable[Trial], picture: Callable[[Trial], Pixels]) -> Tally:
    """Count what can be read in the picture of each trial."""
    tally = Tally()
    for trial in asked:
        tally.add(trial.scene, read(picture(trial)))
    return tally


def evaluate(
    weights: Path, options: GenerateOptions, asked: list[Trial], progress: Progress
) -> dict[str, Any]:
    """Measure the reader and the model."""
    stage = Candidate(weights)
    stage.load()
    draughtsman = Draughtsman(stage, options.model_dump())
    drawn = measure(
        progress.track(asked, description="drawn, to check the reader"), lambda it: draw(it.scene)
    )
    generated = measure(progress.track(asked, description="generated"), draughtsman)
    return {
        "weights": {
            "file": weights.name,
            "bytes": weights.stat().st_size,
            "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        },
        "sampling": options.model_dump(),
        "reader_on_drawings": drawn.scores(),
        "accuracy": generated.scores(),
        "confusion": generated.confusion(),
        "overlap": {
            "median": round(statistics.median(generated.overlaps), 3),
            "lowest": round(min(generated.overlaps), 3),
            "readable": READABLE_OVERLAP,
        },
        "ms_per_picture": {
            "cpu_median": round(statistics.median(draughtsman.cpu_ms), 1),
            "wall_median": round(statistics.median(draughtsman.wall_ms), 1),
        },
        "wrong": generated.wrong,
    }


def main() -> None:
    """Measure, print the figures as the card has them."""
    arguments = _arguments()
    console = Console(stderr=True)
    with console.status("Going through the training's captions, to leave them out"):
        seen = captions_in_training(arguments.seen_steps)
    asked = trials(seen, arguments.seed)[:: arguments.every]
    scenes = [trial.scene for trial in asked]
    captions = {
        "number": len(scenes),
        "seed": arguments.seed,
        **{kind: sum(len(scene.figures) == count for scene in scenes) for count, kind in KINDS.items()},
        "never_in_training": sum(scene.caption not in seen for scene in scenes),
    }
    weights = arguments.weights or find_weights(STAGES["generate"].model)
    options = GenerateOptions(steps=arguments.steps, cfg=arguments.cfg)
    with _progress(console) as progress:
        results = {"captions": captions, **evaluate(weights, options, asked, progress)}
    print(figures(results))
    for caption in results["wrong"]:
        console.print(f"wrong: {caption}")
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m models.shapes.evaluate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    served = GenerateOptions()
    parser.add_argument("--weights", type=Path, help="another ONNX file than the one that ships")
    parser.add_argument("--steps", type=int, default=served.steps, help="sampling steps (%(default)s)")
    parser.add_argument("--cfg", type=float, default=served.cfg, help="guidance (%(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of captions and noise (%(default)s)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth caption: a glance")
    parser.add_argument(
        "--seen-steps",
        type=int,
        default=TRAINING_STEPS,
        metavar="N",
        help="steps that the weights were trained for; captions of two figures that occurred in them are "
        "left out (%(default)s)",
    )
    parser.add_argument("--out", type=Path, help=f"write the figures there too; the card's: {RESULTS.name}")
    return parser.parse_args()


def _progress(console: Console) -> Progress:
    text = TextColumn("{task.description}")
    return Progress(text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=console)


if __name__ == "__main__":
    main()
