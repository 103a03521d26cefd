"""A diffusers pipeline on its device: the only module that imports PyTorch."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import AutoPipelineForText2Image
from diffusers.utils import logging as diffusers_logging
from PIL import Image
from transformers.utils import logging as transformers_logging

from darkroom.errors import BadRequest
from darkroom.settings import settings
from darkroom.stages.diffusion import DiffusionConfig, Drawn, OutOfMemory, Shot, Subject
from darkroom.stages.options import DiffusionOptions

_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
_NETWORKS = ("unet", "transformer")
_TOKENIZERS = ("tokenizer", "tokenizer_2", "tokenizer_3")
_SEED_BITS = 32


class Pipeline:
    """One loaded pipeline and what it takes."""

    def __init__(self, config: DiffusionConfig) -> None:
        """Load it.

        Raises:
            BadRequest: the configuration can't be had on this machine or with this pipeline.
            OSError: files are missing, or there are none in the safetensors format.
        """
        cuda = torch.cuda.is_available()
        if config.offload != "none" and not cuda:
            raise BadRequest(f"config.offload: {config.offload} needs a GPU, and PyTorch sees none here")
        self.dtype = _choose_dtype(config.dtype, cuda)
        self.device = f"cuda:0 {torch.cuda.get_device_name(0)}" if cuda else "cpu"
        if not cuda:
            torch.set_num_threads(settings().threads)
        self._pipe = _read(config, _DTYPES[self.dtype])
        _arrange(self._pipe, config, "cuda:0" if cuda else "cpu")
        self.multiple = _multiple(self._pipe)
        self._parameters = inspect.signature(self._pipe.__call__).parameters
        transformer = getattr(self._pipe, "transformer", None)
        distilled = getattr(getattr(transformer, "config", None), "guidance_embeds", None)
        self._keywords = keywords(self._parameters, distilled)

    def refusals(self, options: DiffusionOptions) -> dict[str, str]:
        """Options that this pipeline would ignore or choke on, and why."""
        asked = {name for name, value in options if value is not None}
        name = type(self._pipe).__name__
        refused = dict.fromkeys(sorted(asked - self._keywords.keys()), f"{name} takes none")
        if (
            not refused
            and self._keywords.get("guidance") == "true_cfg_scale"
            and options.guidance is not None
            and options.negative_prompt is None
        ):
            refused["guidance"] = f"has no effect in {name} without options.negative_prompt"
        return refused

    def round_down(self, side: int) -> int:
        """The largest allowed side that is not larger, at least the smallest."""
        return max(side // self.multiple, 1) * self.multiple

    def describe(self, shot: Shot) -> dict[str, Any]:
        """What a shot amounts to, the pipeline's defaults filled in."""
        return {
            "pipeline": type(self._pipe).__name__,
            "dtype": self.dtype,
            "steps": self._value("steps", shot.steps),
            "guidance": self._value("guidance", shot.guidance),
        }

    def draw(self, shot: Shot, subjects: Sequence[Subject]) -> list[Drawn]:
        """One forward pass.

        Raises:
            OutOfMemory: so many don't fit on the GPU; its cache is empty again.
            FloatingPointError: a picture has no numbers.
        """
        try:
            result = self._call(shot, subjects)
        except torch.OutOfMemoryError as error:
            problem = str(error).partition(". ")[0]
        else:
            flags = getattr(result, "nsfw_content_detected", None) or [None] * len(subjects)
            images = [_as_image(each) for each in result.images]
            drawn = [Drawn(image, flag) for image, flag in zip(images, flags, strict=True)]
            _check_sizes(shot, drawn)
            return drawn
        # Only here, where the failed call's frames and their tensors are gone, does it free anything.
        torch.cuda.empty_cache()
        raise OutOfMemory(problem)

    def tokens_cut(self, prompt: str) -> int:
        """Tokens at the end of a prompt that no text encoder of this pipeline reads."""
        tokenizers = [getattr(self._pipe, name, None) for name in _TOKENIZERS]
        known = [each for each in tokenizers if each is not None]
        if not known:
            return 0
        longest = max(known, key=lambda each: int(each.model_max_length))
        read = int(longest.model_max_length)
        return max(0, len(longest(prompt, verbose=False).input_ids) - read)

    def _call(self, shot: Shot, subjects: Sequence[Subject]) -> Any:
        asked: dict[str, Any] = {"width": shot.width, "height": shot.height}
        if "output_type" in self._parameters:
            asked["output_type"] = "np"
        values = {"steps": shot.steps, "guidance": shot.guidance}
        asked |= {self._keywords[name]: value for name, value in values.items() if value is not None}
        if shot.negative:
            asked["negative_prompt"] = [subject.negative_prompt for subject in subjects]
        # On the CPU, so that the noise depends neither on the device nor on the neighbours.
        generators = [torch.Generator("cpu").manual_seed(fold_seed(subject.seed)) for subject in subjects]
        return self._pipe(
            prompt=[subject.prompt for subject in subjects],
            generator=generators,
            **{name: value for name, value in asked.items() if value is not None},
        )

    def _value(self, option: str, asked: float | None) -> Any:
        if asked is not None or option not in self._keywords:
            return asked
        return self._parameters[self._keywords[option]].default


def keywords(parameters: Mapping[str, inspect.Parameter], distilled: bool | None) -> dict[str, str]:
    """The pipeline's keyword for each of our options; an option is left out that would have no effect.

    Args:
        parameters: of the pipeline's `__call__`.
        distilled: whether its transformer takes guidance as an input; None where it doesn't say.

    Pipelines with `true_cfg_scale` (Flux, Qwen-Image) read a negative prompt only where that is above 1,
    and `guidance_scale` only where the model was distilled for it.
    """
    known = {
        "steps": "num_inference_steps",
        "guidance": "guidance_scale",
        "negative_prompt": "negative_prompt",
    }
    if "true_cfg_scale" in parameters:
        guided = parameters["true_cfg_scale"].default > 1
        if not guided:
            del known["negative_prompt"]
        if not distilled:
            known["guidance"] = "true_cfg_scale" if guided else ""
    return {option: keyword for option, keyword in known.items() if keyword in parameters}


def fold_seed(seed: int) -> int:
    """A seed of 63 bits as one of 32; those below 2**32 stay what they are everywhere else.

    PyTorch's generator on the CPU uses only the lower 32 bits: 7 and 7 + 2**32 would draw the same picture.
    """
    mask = (1 << _SEED_BITS) - 1
    high, low = seed >> _SEED_BITS, seed & mask
    # An odd factor (2**32 divided by the golden ratio), so that near seeds don't fall on each other.
    return low ^ (high * 0x9E3779B1 & mask)


def _choose_dtype(asked: str, cuda: bool) -> str:
    if asked != "auto":
        return asked
    if not cuda:
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"


def _read(config: DiffusionConfig, dtype: torch.dtype) -> Any:
    # A bar per file would fill the server's log.
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
    # None is what diffusers takes for "leave it out".
    without: dict[str, Any] = {} if config.safety_checker else {"safety_checker": None}
    return AutoPipelineForText2Image.from_pretrained(
        config.pipeline,
        dtype=dtype,
        variant=config.variant,
        revision=config.revision,
        local_files_only=config.local_files_only or config.is_folder,
        # A pickle runs what its author wanted; a safetensors file is only numbers.
        use_safetensors=True,
        **without,
    )


def _arrange(pipe: Any, config: DiffusionConfig, device: str) -> None:
    """Put the pipeline where it computes, as the configuration says."""
    pipe.set_progress_bar_config(disable=True)
    if config.scheduler:
        _exchange_scheduler(pipe, config.scheduler)
    vae: Any = getattr(pipe, "vae", None)
    if hasattr(vae, "enable_slicing"):
        # One picture after the other: a batch needs no more memory for it than a single picture.
        vae.enable_slicing()
    if config.offload != "none" and hasattr(vae, "enable_tiling"):
        vae.enable_tiling()
    if config.offload == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif config.offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=device)
    else:
        pipe.to(device)
    if config.compile:
        for network in _NETWORKS:
            if (module := getattr(pipe, network, None)) is not None:
                # Dynamic: a new size or batch must not wait for the compiler again.
                module.compile(dynamic=True)


def _exchange_scheduler(pipe: Any, name: str) -> None:
    fitting = {each.__name__: each for each in pipe.scheduler.compatibles}
    if name not in fitting:
        raise BadRequest(f"config.scheduler: not {name!r}; fitting here: {', '.join(sorted(fitting))}")
    pipe.scheduler = fitting[name].from_config(pipe.scheduler.config)


def _multiple(pipe: Any) -> int:
    """What width and height must be a multiple of, in pixels."""
    scale = int(getattr(pipe, "vae_scale_factor", 8))
    # Transformers cut the latent into patches: some pipelines say so themselves, others in their processor.
    patch = getattr(pipe, "patch_size", None) or 1
    processor = getattr(getattr(pipe, "image_processor", None), "config", None)
    return max(scale * int(patch), int(getattr(processor, "vae_scale_factor", 1)))


def _as_image(pixels: Any) -> Image.Image:
    """A picture from values of 0 to 1, rounded as diffusers does.

    Raises:
        FloatingPointError: there are none. Left to diffusers, the picture would be black without a word.
    """
    if isinstance(pixels, Image.Image):
        return pixels
    values = np.asarray(pixels, np.float32)
    if not np.isfinite(values).all():
        raise FloatingPointError("the pipeline computed no numbers (NaN); try config.dtype bf16 or fp32")
    return Image.fromarray((values * 255).round().astype(np.uint8))


def _check_sizes(shot: Shot, drawn: Sequence[Drawn]) -> None:
    for each in drawn:
        if shot.width and each.image.size != (shot.width, shot.height):
            raise ValueError(f"the pipeline draws {each.image.size} instead of {(shot.width, shot.height)}")
