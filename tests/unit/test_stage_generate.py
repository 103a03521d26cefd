from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from darkroom.errors import InvalidItem, StageFailed, WrongWeights
from darkroom.flows import STAGES
from darkroom.settings import settings
from darkroom.stages.base import Output, Request
from darkroom.stages.caption import Vocabulary
from darkroom.stages.generate import Generate
from darkroom.stages.palette import find_colours
from darkroom.stages.runtime import find_weights

RED_RING = "a large red ring on a white background"


@pytest.fixture(scope="module")
def stage():
    stage = Generate()
    stage.load()
    return stage


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.read(settings().models / "shapes-vocabulary.json")


def test_the_same_request_gives_the_same_bytes_whatever_its_batch(stage):
    requests = [
        Request("a", prompt=RED_RING, seed=1, options={"steps": 4}),
        Request("b", prompt="a blue star on a pink background", seed=2, options={"steps": 4}),
        Request("c", prompt=RED_RING, seed=1, options={"steps": 4, "cfg": 5}),
        Request("d", prompt="a green heart on a black background", seed=2**63 - 1, options={"steps": 3}),
        Request("e", prompt=RED_RING, seed=2, options={"steps": 4}),
    ]
    alone = {request.custom_id: stage.run([request])[0].image for request in requests}
    assert len(set(alone.values())) == len(requests)
    for batch in (requests, requests[::-1], [requests[2], requests[0]], [requests[0]] * 3):
        for request, output in zip(batch, stage.run(batch), strict=True):
            assert output.image == alone[request.custom_id]


def test_the_model_never_sees_another_items_rows(stage, monkeypatch):
    """Bytes may agree by luck of rounding; the shape of what the model is given decides."""
    shapes = []

    class Spy:
        def run(self, names, inputs):
            shapes.append(inputs["x"].shape)
            return real.run(names, inputs)

    real = stage._session
    monkeypatch.setattr(stage, "_session", Spy())
    stage.run([stage.sample()] * 3)
    assert shapes == [(2, 3, 64, 64)] * 3


def test_a_second_instance_draws_the_same_bytes(stage):
    other = Generate()
    other.load()
    assert other.run([other.sample()]) == stage.run([stage.sample()])


def test_the_picture_shows_what_the_prompt_says(stage, vocabulary):
    prompts = [
        RED_RING,
        "a green heart at the left and a black cross at the right on a cyan background",
        "a small yellow star at the top on a purple background",
    ]
    outputs = stage.run([Request(str(i), prompt=prompt, seed=i) for i, prompt in enumerate(prompts)])
    for prompt, output in zip(prompts, outputs, strict=True):
        scene = vocabulary.parse(prompt)
        found = find_colours(Image.open(BytesIO(output.image)), scene, vocabulary.colours)
        assert found.background == scene.background
        assert list(found.shapes) == [shape.colour for shape in scene.shapes]


@pytest.mark.parametrize(
    ("width", "height", "size"),
    [
        (None, None, (256, 256)),
        (64, 64, (64, 64)),
        (320, 200, (320, 200)),
        (None, 100, (100, 100)),
        (8, 8, (8, 8)),
    ],
)
def test_the_asked_size_is_given(stage, width, height, size):
    (output,) = stage.run([Request("a", prompt=RED_RING, width=width, height=height, options={"steps": 1})])
    image = Image.open(BytesIO(output.image))
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", size)


def test_unknown_words_are_reported(stage):
    prompt = "A photograph of a red circle, on a WHITE background. a photograph!"
    (output,) = stage.run([Request("a", prompt=prompt, options={"steps": 1})])
    assert output.details["unknown_words"] == ["photograph", "of"]
    assert stage.run([stage.sample()])[0].details["unknown_words"] == []


def test_a_bad_item_fails_alone(stage):
    bad = [
        Request("no prompt"),
        Request("bad option", prompt=RED_RING, options={"steps": 1000}),
        Request("negative seed", prompt=RED_RING, seed=-1, options={"steps": 1}),
    ]
    batch = [stage.sample(), *bad, stage.sample()]
    first, *errors, last = stage.run(batch)
    assert isinstance(first, Output)
    assert first == last
    assert [type(error) for error in errors] == [InvalidItem, InvalidItem, StageFailed]
    assert [str(error).split(":")[0] for error in errors] == ["prompt", "options.steps", "ValueError"]


def test_other_weights_under_the_same_name_are_refused(tmp_path, monkeypatch):
    (tmp_path / "shapes-flow-64.onnx").write_bytes(b"other weights")
    monkeypatch.setenv("DARKROOM_MODELS", str(tmp_path))
    settings.cache_clear()
    try:
        with pytest.raises(WrongWeights, match="f289156f"):
            find_weights(STAGES["generate"].model)
        with pytest.raises(WrongWeights, match="can't read"):
            find_weights("missing@00000000")
    finally:
        monkeypatch.undo()
        settings.cache_clear()


def test_captions_become_tokens(vocabulary):
    ids = vocabulary.encode("a RED, circle zebra")
    assert ids[:5] == [3, 9, 19, 2, 0]
    assert len(ids) == len(vocabulary.encode("a " * 50)) == 20
    assert vocabulary.unconditional() == [1] + [0] * 19


@pytest.mark.parametrize(
    "caption",
    [
        "",
        "background",
        "on",
        "on background",
        "on red red background",
        "a red circle",
        "a red blue circle on a white background",
        "red on red circle",
    ],
)
def test_what_is_no_caption_is_not_parsed(vocabulary, caption):
    assert vocabulary.parse(caption) is None


def test_a_blank_picture_shows_no_shape(vocabulary):
    found = find_colours(
        Image.new("RGB", (64, 64), (45, 85, 220)), vocabulary.parse(RED_RING), vocabulary.colours
    )
    assert (found.background, found.shapes) == ("blue", (None,))


def test_every_vocabulary_colour_is_recognised(vocabulary):
    scene = vocabulary.parse(RED_RING)
    for name, rgb in vocabulary.colours.items():
        image = Image.fromarray(np.full((100, 100, 3), rgb, np.uint8))
        assert find_colours(image, scene, vocabulary.colours).background == name
