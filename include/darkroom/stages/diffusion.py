"""Text to image with any `diffusers` pipeline: Stable Diffusion 1.5, XL, 3, Flux and their kin.

Which items can share a forward pass, what to do when the GPU's memory does not suffice, and who is to
blame for an error is decided here; PyTorch is met only in `pipelines.py`, which `load()` imports.
"""

import logging
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from PIL import Image
from pydantic import Field, field_validator, model_validator

from darkroom.errors import InvalidItem, ItemError, StageFailed
from darkroom.settings import REPOSITORY
from darkroom.stages.base import Output, Request
from darkroom.stages.config import Config, parse_config
from darkroom.stages.options import DiffusionOptions, parse_as

SAMPLE_SIDE, SAMPLE_STEPS = 256, 2
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")

log = logging.getLogger(__name__)


class DiffusionConfig(Config):
    """What `[stages.<name>.config]` may say."""

    pipeline: Annotated[str, Field(min_length=1)]
    """A folder in diffusers' layout (relative ones are below the repository), or a hub id `owner/name`."""
    dtype: Literal["auto", "fp16", "bf16", "fp32"] = "auto"
    """auto: bf16 on a GPU that has it, fp16 on an older one, fp32 on a CPU."""
    variant: str | None = None
    """Which files to read: `fp16` reads `*.fp16.safetensors`."""
    revision: str | None = None
    """The commit of a hub repository; without one, what you get may change."""
    local_files_only: bool = False
    """Never ask the hub; always so for a folder."""
    scheduler: str | None = None
    """Another scheduler of diffusers that the pipeline's own can be exchanged for, by its class name."""
    safety_checker: bool = True
    """false leaves the pipeline's checker out, where it has one."""
    compile: bool = False
    """torch.compile of the network: faster steps, a slower start."""
    offload: Literal["none", "model", "sequential"] = "none"
    """Keep parts in RAM while they don't compute: less GPU memory, slower."""
    side: Annotated[int, Field(ge=8, le=4096)] | None = None
    """Width and height in pixels of an item that asks for none; default: the pipeline's own."""

    @field_validator("pipeline")
    @classmethod
    def _folder_or_hub_id(cls, pipeline: str) -> str:
        folder = REPOSITORY / Path(pipeline).expanduser()
        if (folder / "model_index.json").is_file():
            return str(folder)
        if folder.is_dir():
            raise ValueError(f"{folder} holds no pipeline: there is no model_index.json")
        if not _HUB_ID.fullmatch(pipeline):
            raise ValueError(f"no folder {folder}; give one, or a hub id such as owner/name")
        return pipeline

    @model_validator(mode="after")
    def _compiled_parts_stay(self) -> Self:
        if self.compile and self.offload == "sequential":
            raise ValueError("compile: needs offload none or model, not sequential")
        return self

    @property
    def is_folder(self) -> bool:
        """Whether the pipeline lies on this machine's disk."""
        return Path(self.pipeline).is_absolute()


@dataclass(frozen=True, slots=True)
class Shot:
    """What items must have in common to be drawn in one forward pass; None is the pipeline's default."""

    width: int | None
    height: int | None
    steps: int | None
    guidance: float | None
    negative: bool
    """Some pipelines treat an empty negative prompt and none differently."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What each item brings of its own."""

    prompt: str
    negative_prompt: str
    seed: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """One picture."""

    image: Image.Image
    flagged: bool | None
    """By the pipeline's safety checker, which blackened it; None where there is no checker."""


class OutOfMemory(Exception):
    """The GPU's memory did not suffice for a forward pass."""


_Answers = list[Output | ItemError]


class Diffusion:
    """Prompts to pictures, as many in one forward pass as have size, steps and guidance in common.

    A pass that does not fit into the GPU's memory is halved, and the size that fits is remembered for
    pictures of that size until the server ends. A seed gives the same noise in any batch; see
    docs/how-to/run-diffusion-models.md for what that means for the picture.
    """

    def __init__(self, **config: Any) -> None:
        """Check the configuration; nothing is loaded yet.

        Args:
            config: as `DiffusionConfig`.

        Raises:
            ValueError: a keyword is unknown or wrong; the message names it and what is allowed.
        """
        self.config = parse_config(DiffusionConfig, config)
        self._limits: dict[tuple[int | None, int | None], int] = {}

    def load(self) -> None:
        """Load the pipeline onto the GPU, or onto the CPU where there is none.

        Raises:
            BadRequest: the configuration can't be had on this machine or with this pipeline.
            OSError: files are missing, or there are none in the safetensors format.
        """
        from darkroom.stages.pipelines import Pipeline

        self._pipeline = Pipeline(self.config)
        self.device = self._pipeline.device
        if self.config.compile:
            # The compiler takes one picture and several as two cases; the server's own sample is the first.
            self.run([self.sample()] * 2)

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        """One PNG per prompt.

        `details`: `pipeline`, `steps`, `guidance`, `dtype`, `size`, `batch` (items in the forward pass);
        `nsfw_flagged` where the pipeline has a safety checker; `prompt_tokens_cut` where a prompt is
        longer than the pipeline reads.
        """
        answers: dict[int, Output | ItemError] = {}
        groups: dict[Shot, list[tuple[int, Subject]]] = {}
        for position, request in enumerate(batch):
            try:
                shot, subject = self._understand(request)
            except ItemError as error:
                answers[position] = error
            else:
                groups.setdefault(shot, []).append((position, subject))
        for shot, members in groups.items():
            subjects = [subject for _, subject in members]
            drawn = self._draw_group(shot, subjects)
            answers |= {position: answer for (position, _), answer in zip(members, drawn, strict=True)}
        return [answers[position] for position in range(len(batch))]

    def sample(self) -> Request:
        """Two steps of a small picture."""
        side = self._pipeline.round_down(min(self.config.side or SAMPLE_SIDE, SAMPLE_SIDE))
        return Request(
            "canary",
            prompt="a red circle on a white background",
            width=side,
            height=side,
            options={"steps": SAMPLE_STEPS},
        )

    def _understand(self, request: Request) -> tuple[Shot, Subject]:
        """What an item asks for, in the pipeline's terms.

        Raises:
            InvalidItem: a field is wrong, or asks for what this pipeline does not take.
        """
        if not request.prompt:
            raise InvalidItem("prompt: text to image needs one")
        options = parse_as(DiffusionOptions, request.options)
        for name, why in self._pipeline.refusals(options).items():
            raise InvalidItem(f"options.{name}: {why}")
        width = request.width or request.height or self.config.side
        height = request.height or request.width or self.config.side
        multiple = self._pipeline.multiple
        for name, side in (("width", width), ("height", height)):
            if side and side % multiple:
                near = self._pipeline.round_down(side)
                raise InvalidItem(
                    f"{name}: {side} is not a multiple of {multiple}; near are {near} and {near + multiple}"
                )
        negative = options.negative_prompt
        shot = Shot(width, height, options.steps, options.guidance, negative is not None)
        return shot, Subject(request.prompt, negative or "", request.seed)

    def _draw_group(self, shot: Shot, subjects: Sequence[Subject]) -> _Answers:
        """Answers in the order of `subjects`, in as few forward passes as the memory allows."""
        size = (shot.width, shot.height)
        answers: _Answers = []
        while len(answers) < len(subjects):
            start = len(answers)
            several = subjects[start : start + self._limits.get(size, len(subjects))]
            try:
                answers += self._draw(shot, several)
            except OutOfMemory as error:
                if len(several) == 1:
                    answers.append(StageFailed(f"the GPU's memory does not suffice: {error}"))
                    continue
                self._limits[size] = len(several) // 2
                log.warning(
                    "%d pictures of %s do not fit; from now on %d", len(several), shot, self._limits[size]
                )
            # A pipeline may raise anything; the item carries it on, the log has the traceback.
            except Exception as error:
                log.warning("%d items failed: %s", len(several), shot, exc_info=error)
                if len(several) == 1:
                    failed = StageFailed(f"{type(error).__name__}: {error}")
                    failed.__cause__ = error
                    answers.append(failed)
                else:
                    answers += [self._draw_group(shot, [subject])[0] for subject in several]
        return answers

    def _draw(self, shot: Shot, subjects: Sequence[Subject]) -> _Answers:
        drawn = self._pipeline.draw(shot, subjects)
        # Compressing releases the interpreter's lock, and the GPU waits meanwhile.
        with ThreadPoolExecutor(len(drawn)) as pool:
            images = list(pool.map(_encode, (each.image for each in drawn)))
        common = {**self._pipeline.describe(shot), "batch": len(subjects)}
        answers: _Answers = []
        for subject, each, image in zip(subjects, drawn, images, strict=True):
            details = {**common, "size": list(each.image.size)}
            if each.flagged is not None:
                details["nsfw_flagged"] = each.flagged
            if cut := self._pipeline.tokens_cut(subject.prompt):
                details["prompt_tokens_cut"] = cut
            answers.append(Output(image=image, details=details))
        return answers


def _encode(image: Image.Image) -> bytes:
    """PNG; at level 2, 1024 x 1024 pixels take 65 ms instead of 300 ms and a sixth more bytes (measured)."""
    buffer = BytesIO()
    image.convert("RGB").save(buffer, "PNG", compress_level=2)
    return buffer.getvalue()
