"""`generate`: prompts to pictures by flow matching, with the tiny shapes model that ships with us.

A demo model: 64 x 64 pixels, coloured shapes, 35 words. Sampling after Lipman et al. 2023, "Flow
Matching for Generative Modeling" (arXiv:2210.02747), with classifier-free guidance (arXiv:2207.12598).
"""

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from darkroom.errors import InvalidItem, ItemError
from darkroom.flows import STAGES
from darkroom.settings import settings
from darkroom.stages.base import Output, Request
from darkroom.stages.batch import run_each
from darkroom.stages.caption import Vocabulary
from darkroom.stages.options import GenerateOptions, parse_as
from darkroom.stages.runtime import device_of, find_weights, open_session

NATIVE_SIDE = 64
"""Pixels the model draws."""
DEFAULT_SIDE = 256
"""Pixels of the result when nothing is asked for: large enough to be looked at."""


class Generate:
    """Text to image. The same prompt, seed and options give the same bytes, whatever the batch.

    A matrix product's last bits depend on the batch's shape (differences up to 3e-6 were measured), so
    each picture is sampled in a batch of its own: prompt and no prompt, always two rows. On a CPU that
    costs nothing: 3.4 ms a row at 2 rows, 3.3 to 3.5 ms at 4 to 16.
    """

    def load(self) -> None:
        """Load weights and vocabulary.

        Raises:
            WrongWeights: the file is not the one in the stage table.
        """
        self._session: Any = open_session(find_weights(STAGES["generate"].model))
        self.device = device_of(self._session)
        self._vocabulary = Vocabulary.read(settings().models / "shapes-vocabulary.json")

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        """One PNG per prompt, RGB, 256 x 256 or as asked; `details.unknown_words` is always there."""
        return run_each(batch, self._run_one)

    def sample(self) -> Request:
        """One step instead of sixteen, the native size."""
        return Request(
            "canary",
            prompt="a red circle on a white background",
            width=NATIVE_SIDE,
            height=NATIVE_SIDE,
            options={"steps": 1},
        )

    def _run_one(self, request: Request) -> Output:
        if not request.prompt:
            raise InvalidItem("prompt: generate needs one")
        options = parse_as(GenerateOptions, request.options)
        pixels = self._draw(request.prompt, request.seed, options)
        unknown = self._vocabulary.unknown_words(request.prompt)
        return Output(image=_encode(pixels, request), details={"unknown_words": unknown})

    def _draw(self, prompt: str, seed: int, options: GenerateOptions) -> npt.NDArray[np.uint8]:
        """Pixels [64, 64, 3] of `prompt`."""
        shape = (1, 3, NATIVE_SIDE, NATIVE_SIDE)
        x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
        ids = np.array([self._vocabulary.encode(prompt), self._vocabulary.unconditional()], np.int64)
        guidance, step = np.float32(options.cfg), np.float32(1 / options.steps)
        for i in range(options.steps):
            t = np.full(2, i / options.steps, np.float32)
            v = self._session.run(None, {"x": np.concatenate([x, x]), "t": t, "ids": ids})[0]
            conditional, unconditional = v[:1], v[1:]
            x = x + step * (unconditional + guidance * (conditional - unconditional))
        pixels: npt.NDArray[np.uint8] = (np.clip(x[0], -1, 1) * 127.5 + 127.5).astype(np.uint8)
        return pixels.transpose(1, 2, 0)


def _encode(pixels: npt.NDArray[np.uint8], request: Request) -> bytes:
    """PNG in the asked size; one side given means a square. Another shape stretches the picture."""
    width = request.width or request.height or DEFAULT_SIDE
    height = request.height or request.width or DEFAULT_SIDE
    image = Image.fromarray(pixels)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
