"""What every stage must do, whatever draws or judges behind it."""

from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from http_endpoint import Endpoint as HttpEndpoint
from http_endpoint import draw
from pictures import encode, halves
from PIL import Image

from darkroom.errors import InvalidItem, ItemError
from darkroom.stages.base import Output, Request, StageModel
from darkroom.stages.diffusion import Diffusion
from darkroom.stages.endpoint import Endpoint
from darkroom.stages.enhance import Enhance
from darkroom.stages.generate import Generate
from darkroom.stages.inspect import Inspect
from darkroom.stages.noop import Noop

NEEDS_TORCH = "PyTorch and diffusers are not installed here: make test-diffusion"


@dataclass(frozen=True)
class Backend:
    """A loaded stage and what is to be known of it."""

    stage: StageModel
    good: Request
    gives: str
    bad: Request | None = None
    """An item that it must refuse; None where it takes everything."""
    seeded: bool = True
    """Whether the seed shapes the answer."""
    levels: int = 0
    """How far a picture may differ in a batch from alone, of 255."""

    def item(self, name: str, seed: int) -> Request:
        return replace(self.good, custom_id=name, seed=seed)


def _prompt(**options: Any) -> Request:
    return Request("good", prompt="a red circle on a white background", options=options)


PICTURE = Request("good", image=encode(halves()))
EMPTY = Request("bad")


def _diffusion(kind: str, folder: Any) -> Backend:
    pytest.importorskip("torch", reason=NEEDS_TORCH)
    pytest.importorskip("diffusers", reason=NEEDS_TORCH)
    from bench import pipelines

    stage = Diffusion(pipeline=str(getattr(pipelines, kind)(folder)), side=64)
    return Backend(stage, _prompt(steps=2), "image", bad=replace(_prompt(), width=63), levels=1)


BACKENDS = ["Generate", "Enhance", "Inspect", "Noop", "Endpoint", "tiny_sd15", "tiny_sdxl", "tiny_flux"]


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request, tmp_path_factory):
    name = request.param
    with HttpEndpoint(draw).serving() as http:
        if name.startswith("tiny"):
            found = _diffusion(name, tmp_path_factory.mktemp(name))
        else:
            found = {
                "Generate": Backend(Generate(), _prompt(steps=2), "image", bad=EMPTY),
                "Enhance": Backend(Enhance(), PICTURE, "image", bad=EMPTY, seeded=False),
                "Inspect": Backend(Inspect(), PICTURE, "verdict", bad=EMPTY, seeded=False),
                "Noop": Backend(Noop(), _prompt(), "image", seeded=False),
                "Endpoint": Backend(
                    Endpoint(url=http.url), _prompt(), "image", bad=Request("bad", prompt="a forbidden word")
                ),
            }[name]
        found.stage.load()
        yield found


def same(one: Output | ItemError, other: Output | ItemError, levels: int) -> bool:
    """Equal to the byte, or pictures that differ by no more than `levels`."""
    assert isinstance(one, Output)
    assert isinstance(other, Output)
    if not levels:
        return one == other
    return bool(np.abs(pixels(one) - pixels(other)).max() <= levels)


def pixels(output: Output) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(output.image)), np.int16)


def test_its_own_sample_passes(backend):
    (answer,) = backend.stage.run([backend.stage.sample()])
    assert isinstance(answer, Output), answer


def test_it_says_where_it_computes(backend):
    assert str(getattr(backend.stage, "device", "cpu"))


def test_there_are_as_many_answers_as_items(backend):
    for count in (0, 1, 3):
        answers = backend.stage.run([backend.item(str(n), n) for n in range(count)])
        assert len(answers) == count
        assert all(isinstance(answer, Output) for answer in answers)


def test_it_gives_what_the_stage_table_says(backend):
    (answer,) = backend.stage.run([backend.good])
    if backend.gives == "verdict":
        assert answer.verdict.accepted in (True, False)
    else:
        with Image.open(BytesIO(answer.image)) as image:
            image.load()
            assert image.format == "PNG"


def test_an_unknown_option_is_the_items_fault_and_named(backend):
    if isinstance(backend.stage, Noop):
        pytest.skip("takes everything")
    asked = replace(backend.good, options={**backend.good.options, "stepz": 3})
    first, error = backend.stage.run([backend.good, asked])
    assert isinstance(first, Output)
    assert isinstance(error, InvalidItem)
    assert "options.stepz" in str(error)


def test_a_bad_item_fails_alone_and_in_its_place(backend):
    if backend.bad is None:
        pytest.skip("takes everything")
    alone = backend.stage.run([backend.good])[0]
    first, error, last = backend.stage.run([backend.good, backend.bad, backend.good])
    assert isinstance(error, ItemError)
    assert not error.retryable
    assert same(alone, first, backend.levels)
    assert same(alone, last, backend.levels)


def test_the_same_seed_gives_the_same_alone_and_in_a_batch_in_its_place(backend):
    batch = [backend.item(str(seed), seed) for seed in (5, 2**63 - 1, 6)]
    alone = [backend.stage.run([request])[0] for request in batch]
    assert alone == [backend.stage.run([request])[0] for request in batch]
    together = backend.stage.run(batch)
    assert all(same(one, other, backend.levels) for one, other in zip(alone, together, strict=True))


def test_other_seeds_give_other_pictures(backend):
    if not backend.seeded:
        pytest.skip("knows no seed")
    seeds = [0, 1, 2**32, 2**63 - 1]
    answers = backend.stage.run([backend.item(str(seed), seed) for seed in seeds])
    assert len({answer.image for answer in answers}) == len(seeds)
