from io import BytesIO

import numpy as np
import pytest
from pictures import encode, halves, png_claiming
from PIL import Image

from darkroom.errors import InvalidImage, InvalidItem
from darkroom.settings import REPOSITORY
from darkroom.stages.base import Request
from darkroom.stages.enhance import HALO, Enhance
from darkroom.stages.tiling import enlarge_in_tiles

CAT = REPOSITORY / "examples" / "photos" / "cat.jpg"


@pytest.fixture(scope="module")
def stage():
    stage = Enhance()
    stage.load()
    return stage


@pytest.fixture(scope="module")
def pixels():
    """[3, 72, 96], a piece with fur and an eye."""
    image = Image.open(CAT).crop((110, 40, 206, 112))
    return np.asarray(image, np.float32).transpose(2, 0, 1) / 255


@pytest.fixture(scope="module")
def whole(stage, pixels):
    return stage._infer(pixels[None])[0]


def opened(output):
    return Image.open(BytesIO(output.image))


def test_tiles_meet_without_a_seam(stage, pixels, whole):
    tiled = enlarge_in_tiles(pixels, stage._infer, 4, tile=40, halo=HALO)
    assert tiled.shape == whole.shape == (3, 288, 384)
    # A level of an 8-bit picture is 0.004.
    assert np.abs(tiled - whole).max() < 1e-4


def test_a_halo_smaller_than_what_the_model_sees_would_leave_seams(stage, pixels, whole):
    tiled = enlarge_in_tiles(pixels, stage._infer, 4, tile=40, halo=4)
    assert np.abs(tiled - whole).max() > 1e-3


@pytest.mark.parametrize(("size", "tile"), [((1, 1), 4), ((5, 3), 4), ((4, 4), 4), ((9, 1), 2)])
def test_tiles_cover_every_pixel_once(size, tile):
    height, width = size
    pixels = np.random.default_rng(0).random((3, height, width), np.float32)
    doubled = enlarge_in_tiles(pixels, lambda piece: piece.repeat(2, 2).repeat(2, 3), 2, tile, halo=1)
    assert np.array_equal(doubled, pixels.repeat(2, 1).repeat(2, 2))


@pytest.mark.parametrize(("scale", "size"), [(1, (40, 20)), (2, (80, 40)), (4, (160, 80))])
def test_the_scale_option_sets_the_size(stage, scale, size):
    (output,) = stage.run([Request("a", image=encode(halves()), options={"scale": scale})])
    image = opened(output)
    assert (image.format, image.mode, image.size) == ("PNG", "RGB", size)
    assert output.details["original"] == output.details["input"] == [40, 20]


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_colours_and_places_stay_as_they_were(stage, scale):
    (output,) = stage.run([Request("a", image=encode(halves()), options={"scale": scale})])
    image = np.asarray(opened(output), np.int16)
    height, width, _ = image.shape
    assert np.abs(image[height // 2, width // 8] - (255, 0, 0)).max() < 16
    assert np.abs(image[height // 2, width * 7 // 8] - (0, 0, 255)).max() < 16


def test_a_large_input_is_reduced_first(stage):
    image = halves(size=(300, 30))
    (output,) = stage.run([Request("a", image=encode(image), options={"max_side": 50, "scale": 1})])
    assert output.details["original"] == [300, 30]
    assert output.details["input"] == [50, 5]
    assert opened(output).size == (50, 5)


def test_one_pixel_is_a_picture_too(stage):
    (output,) = stage.run([Request("a", image=encode(Image.new("RGB", (1, 1), "red")))])
    assert opened(output).size == (4, 4)


def test_nothing_of_the_metadata_travels_on(stage):
    exif = Image.Exif()
    exif[0x010F] = "SECRET-CAMERA"
    data = encode(halves(), "JPEG", exif=exif, comment=b"SECRET-COMMENT")
    assert b"SECRET" in data
    (output,) = stage.run([Request("a", image=data)])
    assert b"SECRET" not in output.image
    assert not opened(output).info
    assert output.details["format"] == "JPEG"


def test_bad_pictures_fail_alone_and_the_same_bytes_come_out(stage):
    good = Request("good", image=encode(halves()))
    bad = [
        Request("empty"),
        Request("svg", image=b"<svg/>"),
        Request("bomb", image=png_claiming(30_000, 30_000)),
        Request("cut", image=CAT.read_bytes()[:5000]),
        Request("option", image=good.image, options={"scale": 3}),
        Request("size", image=good.image, width=100),
        Request("limit", image=good.image, options={"max_pixels": 100}),
    ]
    first, *errors, last = stage.run([good, *bad, good])
    assert first == last == stage.run([good])[0]
    kinds = [InvalidImage] * 4 + [InvalidItem] * 2 + [InvalidImage]
    assert [type(error) for error in errors] == kinds


def test_the_sample_runs(stage):
    assert opened(stage.run([stage.sample()])[0]).size == (128, 128)
