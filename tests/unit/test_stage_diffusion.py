"""The logic of `Diffusion` with a pipeline that only remembers; real ones where PyTorch is installed."""

import hashlib
import inspect
import subprocess
import sys
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from darkroom.errors import BadRequest, InvalidItem, StageFailed
from darkroom.stages.base import Output, Request
from darkroom.stages.diffusion import Diffusion, Drawn, OutOfMemory

NEEDS_TORCH = "PyTorch and diffusers are not installed here: make test-diffusion"


class RememberingPipeline:
    """Notes every forward pass; holds at most `fits` pictures; raises on the prompt `poison`."""

    device = "cpu"
    multiple = 8

    def __init__(self, fits: int = 100, flags: bool = False) -> None:
        self.fits = fits
        self.flags = flags
        self.passes: list[list[str]] = []

    def refusals(self, options):
        return {"guidance": "Fake takes none"} if options.guidance == 13 else {}

    def round_down(self, side):
        return side // 8 * 8

    def describe(self, shot):
        return {"steps": shot.steps}

    def tokens_cut(self, prompt):
        return max(0, len(prompt) - 100)

    def draw(self, shot, subjects):
        self.passes.append([subject.prompt for subject in subjects])
        if len(subjects) > self.fits:
            raise OutOfMemory("CUDA out of memory")
        if "poison" in self.passes[-1]:
            raise RuntimeError("a bad prompt")
        size = (shot.width or 64, shot.height or 64)
        colours = [
            hashlib.sha256(f"{s.prompt} {s.negative_prompt} {s.seed}".encode()).digest() for s in subjects
        ]
        return [Drawn(Image.new("RGB", size, tuple(c[:3])), True if self.flags else None) for c in colours]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model_index.json").write_text("{}")
    return tmp_path


@pytest.fixture
def stage_with(folder):
    def make(**behaviour):
        stage = Diffusion(pipeline=str(folder))
        stage._pipeline = RememberingPipeline(**behaviour)
        return stage, stage._pipeline

    return make


def items(*prompts: str, **fields) -> list[Request]:
    return [Request(prompt, prompt=prompt, seed=n, **fields) for n, prompt in enumerate(prompts)]


def size_of(output: Output) -> tuple[int, int]:
    return Image.open(BytesIO(output.image)).size


def test_items_with_the_same_settings_share_a_forward_pass_and_keep_their_order(stage_with):
    stage, pipeline = stage_with()
    batch = [
        Request("a", prompt="a", options={"steps": 4}),
        Request("b", prompt="b", options={"steps": 8}),
        Request("c", prompt="c", options={"steps": 4}),
        Request("d", prompt="d", options={"steps": 4}, width=128),
        Request("e", prompt="e", options={"steps": 4, "guidance": 2}),
        Request("f", prompt="f", options={"steps": 4, "negative_prompt": ""}),
        Request("g", prompt="g", options={"steps": 4}),
        Request("h", prompt="h", options={"steps": 4, "negative_prompt": "rain"}),
    ]
    outputs = stage.run(batch)
    assert pipeline.passes == [["a", "c", "g"], ["b"], ["d"], ["e"], ["f", "h"]]
    assert [output.details["batch"] for output in outputs] == [3, 1, 3, 1, 1, 2, 3, 2]
    assert outputs == [
        Output(image=alone.image, details=alone.details | {"batch": output.details["batch"]})
        for output, alone in zip(outputs, (stage.run([request])[0] for request in batch), strict=True)
    ]


def test_a_size_is_the_items_else_the_stages_else_the_pipelines(folder):
    stage = Diffusion(pipeline=str(folder), side=96)
    stage._pipeline = RememberingPipeline()
    asked = [{}, {"width": 128}, {"height": 128}, {"width": 64, "height": 32}]
    outputs = stage.run([Request("a", prompt="a", **sides) for sides in asked])
    assert [size_of(output) for output in outputs] == [(96, 96), (128, 128), (128, 128), (64, 32)]
    assert outputs[3].details["size"] == [64, 32]


def test_a_side_that_the_pipeline_can_not_draw_is_named_with_its_neighbours(stage_with):
    stage, _ = stage_with()
    wide, high = stage.run(
        [Request("a", prompt="a", width=100, height=64), Request("b", prompt="b", height=60)]
    )
    assert str(wide) == "width: 100 is not a multiple of 8; near are 96 and 104"
    assert str(high) == "width: 60 is not a multiple of 8; near are 56 and 64"
    assert isinstance(wide, InvalidItem)


def test_bad_items_are_refused_before_the_others_are_drawn(stage_with):
    stage, pipeline = stage_with()
    batch = [
        Request("no prompt"),
        Request("option", prompt="a", options={"cfg": 3}),
        Request("steps", prompt="a", options={"steps": 0}),
        Request("not taken", prompt="a", options={"guidance": 13}),
        Request("good", prompt="good"),
    ]
    *errors, good = stage.run(batch)
    assert [type(error) for error in errors] == [InvalidItem] * 4
    assert [str(error).split(":")[0] for error in errors] == [
        "prompt", "options.cfg", "options.steps", "options.guidance",
    ]  # fmt: skip
    assert isinstance(good, Output)
    assert pipeline.passes == [["good"]]


def test_what_does_not_fit_is_halved_and_the_size_that_fits_is_remembered(stage_with):
    stage, pipeline = stage_with(fits=3)
    batch = items(*"abcdefgh")
    outputs = stage.run(batch)
    assert [len(each) for each in pipeline.passes] == [8, 4, 2, 2, 2, 2]
    assert all(isinstance(output, Output) for output in outputs)
    pipeline.passes.clear()
    assert stage.run(batch) == outputs
    assert [len(each) for each in pipeline.passes] == [2, 2, 2, 2]


def test_another_size_of_pictures_has_a_limit_of_its_own(stage_with):
    stage, pipeline = stage_with(fits=1)
    stage.run(items("a", "b"))
    pipeline.fits = 2
    pipeline.passes.clear()
    stage.run(items("a", "b", width=32))
    assert pipeline.passes == [["a", "b"]]


def test_one_picture_that_does_not_fit_fails_alone_and_may_be_tried_elsewhere(stage_with):
    stage, pipeline = stage_with(fits=0)
    outputs = stage.run(items("a", "b"))
    assert [type(output) for output in outputs] == [StageFailed, StageFailed]
    assert "memory does not suffice" in str(outputs[0])
    pipeline.fits = 8
    assert all(isinstance(output, Output) for output in stage.run(items("a", "b")))


def test_an_item_that_makes_the_pipeline_raise_fails_alone(stage_with):
    stage, pipeline = stage_with()
    first, poisoned, last = stage.run(items("a", "poison", "b"))
    assert isinstance(poisoned, StageFailed)
    assert str(poisoned) == "RuntimeError: a bad prompt"
    assert isinstance(first, Output)
    assert isinstance(last, Output)
    assert pipeline.passes == [["a", "poison", "b"], ["a"], ["poison"], ["b"]]


def test_a_flag_of_the_safety_checker_and_a_cut_prompt_are_told(stage_with):
    stage, _ = stage_with(flags=True)
    (output,) = stage.run(items("x" * 120))
    assert output.details["nsfw_flagged"] is True
    assert output.details["prompt_tokens_cut"] == 20
    stage, _ = stage_with()
    (output,) = stage.run(items("x"))
    assert {"nsfw_flagged", "prompt_tokens_cut"}.isdisjoint(output.details)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "pipeline: Field required"),
        ({"pipeline": 7}, "pipeline: Input should be a valid string"),
        ({"pipeline": "/nowhere/sdxl"}, "pipeline: no folder /nowhere/sdxl; give one, or a hub id"),
        ({"pipeline": "examples"}, "pipeline: .*/examples holds no pipeline"),
        ({"pipeline": "a/b", "dtype": "int8"}, "dtype: Input should be 'auto', 'fp16', 'bf16' or 'fp32'"),
        ({"pipeline": "a/b", "offload": "disk"}, "offload: Input should be 'none', 'model' or 'sequential'"),
        ({"pipeline": "a/b", "compile": "yes"}, "compile: "),
        ({"pipeline": "a/b", "side": 4}, "side: "),
        ({"pipeline": "a/b", "trust_remote_code": True}, "trust_remote_code: there is no such keyword"),
        ({"pipeline": "a/b", "compile": True, "offload": "sequential"}, "compile: needs offload none"),
    ],
)
def test_a_wrong_configuration_is_named(config, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        Diffusion(**config)


def test_a_folder_is_never_looked_for_on_the_hub(folder, monkeypatch):
    assert Diffusion(pipeline=str(folder)).config.is_folder
    assert not Diffusion(pipeline="stabilityai/stable-diffusion-xl-base-1.0").config.is_folder


def test_importing_it_imports_no_pytorch():
    code = "import sys, darkroom.stages.diffusion; print({'torch', 'diffusers'} & set(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "set()"


# From here on with real pipelines of random weights.


@pytest.fixture(scope="module", params=["tiny_sd15", "tiny_sdxl"])
def tiny(request, tmp_path_factory):
    """The folder of a tiny pipeline."""
    pytest.importorskip("torch", reason=NEEDS_TORCH)
    pytest.importorskip("diffusers", reason=NEEDS_TORCH)
    from bench import pipelines

    return getattr(pipelines, request.param)(tmp_path_factory.mktemp(request.param))


def loaded(folder, **config) -> Diffusion:
    stage = Diffusion(pipeline=str(folder), **config)
    stage.load()
    return stage


def pixels(output: Output) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(output.image)), np.int16)


def test_a_seed_gives_the_same_picture_in_any_batch(tiny):
    """Alone the same bytes; in a batch at most one level of 255 (measured: in 0.01 % of the values)."""
    stage = loaded(tiny)
    seeds = [1, 2, 2**32 + 1, 2**63 - 1]
    batch = [Request(str(s), prompt=f"prompt {s % 7}", seed=s, options={"steps": 4}) for s in seeds]
    alone = [stage.run([request])[0] for request in batch]
    assert [stage.run([request])[0] for request in batch] == alone
    together = stage.run(batch)
    for one, other in zip(alone, together, strict=True):
        assert np.abs(pixels(one) - pixels(other)).max() <= 1
    assert stage.run(batch[:1] + batch)[0].details["batch"] == 5


def test_the_picture_is_the_one_that_diffusers_gives_for_that_seed(tiny):
    import torch
    from diffusers import AutoPipelineForText2Image

    stage = loaded(tiny)
    (output,) = stage.run([Request("a", prompt="a red circle", seed=42, options={"steps": 3, "guidance": 4})])
    pipe = AutoPipelineForText2Image.from_pretrained(tiny, local_files_only=True)
    generator = torch.Generator("cpu").manual_seed(42)
    image = pipe("a red circle", num_inference_steps=3, guidance_scale=4.0, generator=generator).images[0]
    assert np.array_equal(pixels(output), np.asarray(image, np.int16))


def test_every_bit_of_a_seed_counts(tiny):
    stage = loaded(tiny)
    seeds = [7, 7 + 2**32, 7 + 2**62, 8, 2**63 - 1]
    outputs = stage.run([Request(str(s), prompt="a", seed=s, options={"steps": 1}) for s in seeds])
    assert len({output.image for output in outputs}) == len(seeds)


def test_guidance_and_negative_prompt_change_the_picture(tiny):
    stage = loaded(tiny)
    options = [{}, {"guidance": 1}, {"guidance": 9}, {"negative_prompt": "rain"}, {"negative_prompt": "sun"}]
    outputs = stage.run([Request("a", prompt="a dog", options={"steps": 2, **each}) for each in options])
    assert len({output.image for output in outputs}) == len(options)


def test_memory_that_does_not_suffice_halves_the_batch(tiny):
    """PyTorch's own error, raised where a GPU would raise it."""
    import torch

    stage = loaded(tiny)
    pipe, sizes = stage._pipeline._pipe, []

    class Full(type(pipe)):
        def __call__(self, prompt, **keywords):
            sizes.append(len(prompt))
            if len(prompt) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return pipe(prompt, **keywords)

    stage._pipeline._pipe = Full.__new__(Full)
    stage._pipeline._pipe.__dict__ = pipe.__dict__
    batch = items(*"abcd", options={"steps": 1})
    assert all(isinstance(output, Output) for output in stage.run(batch))
    assert sizes == [4, 2, 2]
    stage.run(batch)
    assert sizes == [4, 2, 2, 2, 2]


def test_the_size_is_right_and_a_long_prompt_is_said_to_be_cut(tiny):
    stage = loaded(tiny, side=72)
    small, long = stage.run(
        [Request("a", prompt="a", options={"steps": 1}), Request("b", prompt="x" * 100, options={"steps": 1})]
    )
    assert size_of(small) == (72, 72)
    assert "prompt_tokens_cut" not in small.details
    assert long.details["prompt_tokens_cut"] == 100 + 2 - 77
    assert small.details["steps"] == 1
    assert small.details["guidance"] in (5.0, 7.5)
    assert small.details["dtype"] == "fp32"


def test_another_scheduler_can_be_chosen_if_it_fits(tiny):
    own, other = loaded(tiny), loaded(tiny, scheduler="EulerAncestralDiscreteScheduler")
    request = Request("a", prompt="a", seed=3, options={"steps": 3})
    assert own.run([request])[0].image != other.run([request])[0].image
    with pytest.raises(BadRequest, match=r"config.scheduler: not 'Best'; fitting here: .*DDIMScheduler"):
        loaded(tiny, scheduler="Best")


def test_pickled_weights_are_not_read(tiny, tmp_path):
    import shutil

    import torch

    folder = shutil.copytree(tiny, tmp_path / "pickled")
    (weights,) = (folder / "unet").glob("*.safetensors")
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.bin")
    weights.unlink()
    with pytest.raises(OSError, match="safetensors"):
        loaded(folder)


def test_offloading_needs_a_gpu(tiny):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(BadRequest, match=r"config.offload: model needs a GPU"):
        loaded(tiny, offload="model")


def test_a_picture_without_numbers_is_an_error_and_not_black(tiny, monkeypatch):
    stage = loaded(tiny)
    call = stage._pipeline._call

    def overflow(shot, subjects):
        result = call(shot, subjects)
        for image, subject in zip(result.images, subjects, strict=True):
            if subject.prompt == "b":
                image[0, 0, 0] = np.nan
        return result

    monkeypatch.setattr(stage._pipeline, "_call", overflow)
    first, broken, last = stage.run(items("a", "b", "c", options={"steps": 1}))
    assert isinstance(broken, StageFailed)
    assert "try config.dtype bf16 or fp32" in str(broken)
    assert isinstance(first, Output)
    assert isinstance(last, Output)


def test_what_the_safety_checker_flags_is_told(tiny, monkeypatch):
    stage = loaded(tiny)
    black = Image.new("RGB", (64, 64))
    result = SimpleNamespace(images=[black, black], nsfw_content_detected=[True, False])
    monkeypatch.setattr(stage._pipeline, "_call", lambda shot, subjects: result)
    assert [output.details["nsfw_flagged"] for output in stage.run(items("a", "b"))] == [True, False]


@pytest.fixture(scope="module")
def flux(tmp_path_factory):
    """A pipeline with a transformer: sides in steps of 16, guidance as an input, no negative prompt."""
    pytest.importorskip("torch", reason=NEEDS_TORCH)
    pytest.importorskip("diffusers", reason=NEEDS_TORCH)
    from bench.pipelines import tiny_flux

    return loaded(tiny_flux(tmp_path_factory.mktemp("flux")), side=64)


def test_flux_takes_other_sizes_and_options(flux):
    drawn, wide, negative = flux.run(
        [
            Request("a", prompt="a red dog", options={"steps": 1, "guidance": 2}),
            Request("b", prompt="a red dog", width=72),
            Request("c", prompt="a red dog", options={"negative_prompt": "rain"}),
        ]
    )
    assert (size_of(drawn), drawn.details["guidance"]) == ((64, 64), 2)
    assert str(wide) == "width: 72 is not a multiple of 16; near are 64 and 80"
    assert str(negative) == "options.negative_prompt: FluxPipeline takes none"


@pytest.mark.parametrize(
    ("pipeline", "distilled", "expected"),
    [
        ("StableDiffusionPipeline", None, ["steps", "guidance_scale", "negative_prompt"]),
        ("StableDiffusionXLPipeline", None, ["steps", "guidance_scale", "negative_prompt"]),
        ("StableDiffusion3Pipeline", None, ["steps", "guidance_scale", "negative_prompt"]),
        ("FluxPipeline", True, ["steps", "guidance_scale"]),
        ("FluxPipeline", False, ["steps"]),
        ("QwenImagePipeline", False, ["steps", "true_cfg_scale", "negative_prompt"]),
        ("Flux2Pipeline", None, ["steps", "guidance_scale"]),
    ],
)
def test_only_options_that_a_pipeline_heeds_are_taken(pipeline, distilled, expected):
    pytest.importorskip("torch", reason=NEEDS_TORCH)
    diffusers = pytest.importorskip("diffusers", reason=NEEDS_TORCH)
    from darkroom.stages.pipelines import keywords

    parameters = inspect.signature(getattr(diffusers, pipeline).__call__).parameters
    known = keywords(parameters, distilled)
    assert known.pop("steps") == "num_inference_steps"
    assert list(known.values()) == expected[1:]


def test_an_option_that_the_pipeline_ignores_is_refused(tiny):
    stage = loaded(tiny)
    del stage._pipeline._keywords["negative_prompt"]
    refused, drawn = stage.run(
        [
            Request("a", prompt="a", options={"steps": 1, "negative_prompt": "rain"}),
            Request("b", prompt="b", options={"steps": 1}),
        ]
    )
    assert isinstance(refused, InvalidItem)
    assert str(refused).startswith("options.negative_prompt: StableDiffusion")
    assert isinstance(drawn, Output)
