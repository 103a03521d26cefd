import dataclasses

import pytest
from pictures import encode, halves
from PIL import Image, ImageDraw, ImageFilter

from darkroom.errors import InvalidImage, InvalidItem
from darkroom.flows import STAGES
from darkroom.settings import REPOSITORY
from darkroom.stages.base import Output, Request
from darkroom.stages.inspect import Inspect
from darkroom.stages.noop import Noop

PHOTOS = REPOSITORY / "examples" / "photos"
RED, BLUE, WHITE = (220, 40, 40), (45, 85, 220), (245, 245, 245)
PROMPT = "a large red circle on a white background"
CHECKS = {"width", "height", "nsfw", "sharpness", "contrast", "entropy", "phash"}


@pytest.fixture(scope="module")
def stage():
    stage = Inspect()
    stage.load()
    return stage


def circle(colour=RED, background=WHITE, centre=(128, 128)) -> bytes:
    image = Image.new("RGB", (256, 256), background)
    x, y = centre
    ImageDraw.Draw(image).ellipse([x - 60, y - 60, x + 60, y + 60], fill=colour)
    return encode(image)


def verdict_of(stage, image, prompt=None, **options):
    (output,) = stage.run([Request("a", image=image, prompt=prompt, options=options)])
    assert isinstance(output, Output), output
    return output.verdict


@pytest.mark.parametrize("name", ["astronaut", "cat", "galaxies", "gravel", "clock-in-motion"])
def test_real_photographs_are_accepted_with_every_number_measured(stage, name):
    verdict = verdict_of(stage, (PHOTOS / f"{name}.jpg").read_bytes())
    assert verdict.accepted
    assert verdict.reasons == []
    assert set(verdict.checks) == CHECKS
    assert verdict.checks["nsfw"] < 0.1
    assert int(verdict.checks["phash"], 16) < 2**64


def test_a_picture_that_shows_its_caption_is_accepted(stage):
    verdict = verdict_of(stage, circle(), PROMPT)
    assert verdict.accepted
    assert verdict.checks["background"] == {"expected": "white", "found": "white"}
    assert verdict.checks["colours"] == {"expected": ["red"], "found": ["red"]}


@pytest.mark.parametrize(
    ("image", "prompt", "reasons"),
    [
        (circle(BLUE), PROMPT, ["wrong_colour"]),
        (circle(RED, BLUE), PROMPT, ["wrong_background"]),
        (circle(WHITE, BLUE), PROMPT, ["wrong_background", "wrong_colour"]),
        (circle(centre=(70, 128)), "a small red circle at the right on a white background", ["wrong_colour"]),
        (circle(), "a red dog on a white background", ["unknown_words"]),
        (encode(Image.new("RGB", (64, 64), WHITE)), None, ["blank"]),
        (encode(Image.new("RGB", (64, 64), WHITE)), PROMPT, ["blank", "wrong_colour"]),
    ],
)
def test_what_is_wrong_is_a_reason(stage, image, prompt, reasons):
    verdict = verdict_of(stage, image, prompt)
    assert not verdict.accepted
    assert verdict.reasons == reasons


def test_two_shapes_are_compared_in_their_places(stage):
    image = Image.new("RGB", (64, 64), WHITE)
    draw = ImageDraw.Draw(image)
    draw.rectangle([8, 24, 28, 40], fill=RED)
    draw.rectangle([36, 24, 56, 40], fill=BLUE)
    caption = "a {} square at the left and a {} square at the right on a white background"
    assert verdict_of(stage, encode(image), caption.format("red", "blue")).accepted
    swapped = verdict_of(stage, encode(image), caption.format("blue", "red"))
    assert swapped.reasons == ["wrong_colour"]
    assert swapped.checks["colours"]["found"] == ["red", "blue"]


def test_unknown_words_are_listed(stage):
    verdict = verdict_of(stage, circle(), "a brown dog on a white background")
    assert verdict.checks["unknown_words"] == ["brown", "dog"]


def test_the_caption_check_can_be_switched_off(stage):
    assert verdict_of(stage, circle(BLUE), PROMPT, check_caption=False).accepted
    assert verdict_of(stage, circle(BLUE), "a dog", check_caption=False).accepted


def test_a_caption_that_is_no_sentence_is_a_reason_only_when_the_check_is_demanded(stage):
    assert verdict_of(stage, circle(), "red circle").accepted
    assert verdict_of(stage, circle(), "red circle", check_caption=True).reasons == ["unreadable_caption"]


def test_only_the_shapes_models_captions_are_compared_by_itself(monkeypatch):
    other = dataclasses.replace(STAGES["generate"], model="sdxl-base-1.0@462165984030")
    monkeypatch.setitem(STAGES, "generate", other)
    stage = Inspect()
    stage.load()
    verdict = verdict_of(stage, circle(), "a photograph of a dog in the rain")
    assert verdict.accepted
    assert set(verdict.checks) == CHECKS
    assert verdict_of(stage, circle(BLUE), PROMPT).accepted
    assert verdict_of(stage, circle(BLUE), PROMPT, check_caption=True).reasons == ["wrong_colour"]


def test_a_limit_decides_at_the_number_that_was_measured(stage):
    photo = (PHOTOS / "clock-in-motion.jpg").read_bytes()
    checks = verdict_of(stage, photo).checks
    for option, number, reason in (
        ("max_nsfw", "nsfw", "nsfw"),
        ("min_sharpness", "sharpness", "blurred"),
        ("min_contrast", "contrast", "blank"),
    ):
        step = 0.0001 if option.startswith("min") else -0.0001
        assert verdict_of(stage, photo, **{option: checks[number]}).accepted
        assert verdict_of(stage, photo, **{option: checks[number] + step}).reasons == [reason]


def test_a_blurred_picture_is_told_from_a_sharp_one_at_any_size(stage):
    for side in (200, 1000):
        photo = Image.open(PHOTOS / "coffee.jpg").resize((side, side))
        assert verdict_of(stage, encode(photo)).accepted
        blurred = photo.filter(ImageFilter.GaussianBlur(side / 25))
        assert verdict_of(stage, encode(blurred)).reasons == ["blurred"]


def test_edges_between_colours_of_one_brightness_are_seen(stage):
    image = halves("#ff0000", "#008200", (64, 64))
    low, high = image.convert("L").getextrema()
    assert high - low <= 2
    assert verdict_of(stage, encode(image)).accepted


def test_near_duplicates_have_near_hashes(stage):
    photo = Image.open(PHOTOS / "cat.jpg")
    data = [
        encode(photo),
        encode(photo.resize((200, 133)), "JPEG", quality=60),
        (PHOTOS / "rocket.jpg").read_bytes(),
    ]
    first, near, other = (int(verdict_of(stage, each).checks["phash"], 16) for each in data)
    assert (first ^ near).bit_count() <= 6
    assert (first ^ other).bit_count() > 12


def test_bad_items_fail_alone(stage):
    batch = [
        stage.sample(),
        Request("empty"),
        Request("option", image=circle(), options={"max_nfsw": 1}),
        Request("no prompt", image=circle(), options={"check_caption": True}),
        stage.sample(),
    ]
    first, *errors, last = stage.run(batch)
    assert first == last
    assert [type(error) for error in errors] == [InvalidImage, InvalidItem, InvalidItem]
    assert "max_nfsw" in str(errors[1])


def test_the_noop_stage_answers_for_any_stage(stage):
    noop = Noop()
    noop.load()
    first, second = noop.run([noop.sample(), Request("b")])
    assert first == second
    assert first.verdict.accepted
    assert verdict_of(stage, first.image).checks["width"] == 8
