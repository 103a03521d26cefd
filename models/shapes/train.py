"""Train the shapes model by flow matching, after Lipman et al. 2023 (arXiv:2210.02747).

A training picture is drawn, noise is drawn, and the network learns the way from the one to the other
at a random point between them. One picture in ten comes without its caption, so that guidance has
something to lead away from. What is exported is the running average of the weights.

The checkpoint holds all that the training depends on: started again with the same options, it goes
on where it was stopped, and ends with the same weights as one that was never stopped.
"""

import argparse
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from models.shapes.captions import BATCH, TRAINING_SEED, TRAINING_STEPS
from models.shapes.data import MAX_TOKENS, WORDS, Scene, draw, encode, training_batches
from models.shapes.network import Network

CHECKPOINT = Path(__file__).with_name("checkpoint.pt")
PEAK_RATE = 1.2e-3
_LAST_RATE = 0.02
_WARM_UP_STEPS = 100
_AVERAGE = 0.995
_LARGEST_GRADIENT = 1.0
_NOTE_EVERY = 100


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a training is determined by, beside the code and the version of torch."""

    steps: int = TRAINING_STEPS
    batch: int = BATCH
    seed: int = TRAINING_SEED

    def rate(self, step: int) -> float:
        """The learning rate: up in 100 steps, then down along a cosine to a fiftieth."""
        falling = 0.5 * (1 + math.cos(math.pi * step / self.steps)) + _LAST_RATE
        return PEAK_RATE * min(1, step / _WARM_UP_STEPS) * falling


class Training:
    """A network, its average, and where the training stands."""

    def __init__(self, schedule: Schedule) -> None:
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(schedule.seed)
        self.schedule = schedule
        self.step = 0
        self.network = Network(len(WORDS), MAX_TOKENS).to(memory_format=torch.channels_last)
        self.average = {name: value.clone() for name, value in self.network.state_dict().items()}
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(), PEAK_RATE, weight_decay=1e-4, betas=(0.9, 0.99)
        )
        self._scenes = random.Random(schedule.seed)  # noqa: S311
        self._batches = training_batches(self._scenes, schedule.batch)
        self._noise = torch.Generator().manual_seed(schedule.seed)

    def run(self) -> Iterator[float]:
        """Train to the end, yielding the loss of each step."""
        while self.step < self.schedule.steps:
            yield self._advance(next(self._batches))

    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on from here."""
        return {
            "schedule": [self.schedule.steps, self.schedule.batch, self.schedule.seed],
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average,
            "optimizer": self._optimizer.state_dict(),
            "scenes": self._scenes.getstate(),
            "noise": self._noise.get_state(),
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "Training":
        """The training whose `state()` this was."""
        training = cls(Schedule(*state["schedule"]))
        training.step = state["step"]
        training.network.load_state_dict(state["network"])
        training.average = state["average"]
        training._optimizer.load_state_dict(state["optimizer"])
        training._scenes.setstate(state["scenes"])
        training._noise.set_state(state["noise"])
        return training

    def _advance(self, batch: list[tuple[Scene, bool]]) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step)
        pictures, ids = _as_tensors(batch)
        noise = torch.randn(pictures.shape, generator=self._noise)
        t = torch.sigmoid(torch.randn(len(batch), generator=self._noise))
        part = t[:, None, None, None]
        velocity = self.network((1 - part) * noise + part * pictures, t, ids)
        loss = ((velocity - (pictures - noise)) ** 2).mean()
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LARGEST_GRADIENT)
        self._optimizer.step()
        self.step += 1
        self._update_average()
        return loss.item()

    def _update_average(self) -> None:
        kept = min(_AVERAGE, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1 - kept)


def _as_tensors(batch: list[tuple[Scene, bool]]) -> tuple[Tensor, Tensor]:
    """Pictures [b, 3, 64, 64] in -1..1 and ids [b, 20]."""
    pixels = torch.from_numpy(np.stack([draw(scene) for scene, _ in batch]))
    ids = [encode(scene.caption if with_caption else None) for scene, with_caption in batch]
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1, torch.tensor(ids)


def start(schedule: Schedule, path: Path) -> Training:
    """A new training, or the one whose checkpoint is at `path`.

    Raises:
        SystemExit: that one has another schedule, so going on would be neither of the two.
    """
    if not path.exists():
        return Training(schedule)
    training = Training.restore(torch.load(path, weights_only=True))
    if training.schedule != schedule:
        raise SystemExit(f"{path} is of {training.schedule}, not {schedule}: take another --out")
    return training


def save(training: Training, path: Path) -> None:
    """Write the checkpoint so that a stop in between leaves the one before."""
    unfinished = path.with_suffix(".part")
    torch.save(training.state(), unfinished)
    unfinished.replace(path)


def main() -> None:
    """Train, or go on training."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    console = Console(stderr=True)
    training = start(Schedule(arguments.steps, arguments.batch, arguments.seed), arguments.out)
    if training.step:
        console.print(f"Going on from step {training.step:,} of {training.schedule.steps:,}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    losses: list[float] = []
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("training", completed=training.step, total=training.schedule.steps)
        for loss in training.run():
            losses = [*losses[1 - _NOTE_EVERY :], loss]
            progress.update(bar, advance=1, description=f"loss {sum(losses) / len(losses):.4f}")
            if training.step % arguments.save_every == 0:
                save(training, arguments.out)
                print(f"step {training.step} loss {sum(losses) / len(losses):.4f}", flush=True)
    save(training, arguments.out)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m models.shapes.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Then: python -m models.shapes.export",
    )
    plan = Schedule()
    parser.add_argument(
        "--out",
        type=Path,
        default=CHECKPOINT,
        help="the checkpoint; gone on from if it is there (models/shapes/checkpoint.pt)",
    )
    parser.add_argument("--steps", type=int, default=plan.steps, help="how many batches (%(default)s)")
    parser.add_argument("--batch", type=int, default=plan.batch, help="pictures in a batch (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=plan.seed, help="of weights, pictures, captions and noise (%(default)s)"
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="of the CPU; another number, other last bits (%(default)s)"
    )
    parser.add_argument(
        "--save-every", type=int, default=500, metavar="N", help="steps between checkpoints (%(default)s)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
