import os
import resource
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import encode, halves, png_claiming, profile_with_red_and_green_swapped
from PIL import Image

from darkroom.errors import InvalidImage
from darkroom.stages.decode import FORMATS, decode

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def near(pixel, expected, tolerance=6):
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, expected, strict=True))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_allowed_format_is_decoded_to_rgb_of_its_size(kind):
    picture = decode(encode(halves(), kind))
    assert (picture.format, picture.image.mode, picture.image.size) == (kind, "RGB", (40, 20))
    assert near(picture.image.getpixel((3, 10)), RED, 12)
    assert near(picture.image.getpixel((36, 10)), BLUE, 12)


@pytest.mark.parametrize("kind", ["PPM", "TGA", "PCX", "ICO", "EPS", "PDF"])
def test_formats_that_pillow_knows_but_we_do_not_allow_are_refused(kind):
    with pytest.raises(InvalidImage, match="allowed"):
        decode(encode(halves(), kind))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b"\n  <svg/>", "SVG"),
        (b"<!DOCTYPE html><html>not found</html>", "HTML"),
        (b"just text", "allowed"),
        (b"\x89PNG\r\n\x1a\n", "broken"),
    ],
)
def test_what_is_no_picture_is_refused_with_a_reason(data, message):
    with pytest.raises(InvalidImage, match=message):
        decode(data)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_truncated_picture_is_refused(kind):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    data = encode(noise, kind)
    for part in (0.5, 0.9):
        with pytest.raises(InvalidImage):
            decode(data[: int(len(data) * part)])


@pytest.mark.parametrize(("width", "height"), [(8000, 8000), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_before_its_pixels_take_memory(width, height):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidImage, match=r"at most|too large"):
        decode(png_claiming(width, height))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_the_pixel_limit_is_exact():
    data = encode(Image.new("RGB", (10, 10)))
    assert decode(data, max_pixels=100).image.size == (10, 10)
    with pytest.raises(InvalidImage, match="10 x 10"):
        decode(data, max_pixels=99)


def test_transparency_is_laid_on_white():
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    clear.putpixel((0, 0), (255, 0, 0, 255))
    image = decode(encode(clear)).image
    assert (image.getpixel((0, 0)), image.getpixel((5, 5))) == (RED, WHITE)


def test_a_transparent_palette_colour_is_laid_on_white():
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 255, 255, 0, 0])
    palette.putpixel((0, 0), 0)
    image = decode(encode(palette, transparency=1)).image
    assert (image.getpixel((0, 0)), image.getpixel((5, 5))) == (BLUE, WHITE)


def test_grey_with_alpha_is_laid_on_white():
    image = decode(encode(Image.new("LA", (4, 4), (0, 0)))).image
    assert image.getpixel((1, 1)) == WHITE


def test_orientation_is_applied_and_metadata_is_gone():
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    exif[0x010F] = "a camera"
    data = encode(halves(), "JPEG", exif=exif, comment=b"secret", quality=95)
    image = decode(data).image
    assert image.size == (20, 40)
    assert near(image.getpixel((10, 3)), RED, 12)
    assert near(image.getpixel((10, 36)), BLUE, 12)
    assert not image.info
    assert not image.getexif()


def test_16_bit_greys_keep_their_brightness():
    grey = Image.fromarray(np.full((4, 4), 0x8000, np.uint16))
    for kind in ("PNG", "TIFF"):
        assert decode(encode(grey, kind)).image.getpixel((1, 1)) == (128, 128, 128)


def test_floating_point_pixels_are_refused_with_advice():
    with pytest.raises(InvalidImage, match="16 bit"):
        decode(encode(Image.new("F", (4, 4), 0.5), "TIFF"))


def test_cmyk_becomes_rgb():
    image = decode(encode(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)).image
    assert near(image.getpixel((8, 8)), RED, 12)


def test_a_colour_profile_is_converted_to_srgb():
    data = encode(Image.new("RGB", (8, 8), RED), icc_profile=profile_with_red_and_green_swapped())
    picture = decode(data)
    red, green, _ = picture.image.getpixel((4, 4))
    assert green > 200
    assert red < 60
    assert picture.notes == ()
    assert "icc_profile" not in picture.image.info


def test_a_broken_profile_is_left_out_and_noted():
    picture = decode(encode(Image.new("RGB", (8, 8), RED), icc_profile=b"no profile at all"))
    assert picture.notes == ("profile_ignored",)
    assert picture.image.getpixel((4, 4)) == RED


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP"):
        data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
        assert near(decode(data).image.getpixel((4, 4)), RED, 8)


def test_decoding_leaves_pillows_own_limits_as_they_are():
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(encode(halves()))
    assert before == Image.MAX_IMAGE_PIXELS


SOUND = [encode(halves(), kind) for kind in FORMATS]


@settings(max_examples=int(os.environ.get("DARKROOM_FUZZ", "150")), deadline=None)
@given(st.sampled_from(SOUND), st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1))
def test_a_damaged_picture_is_decoded_or_refused_and_nothing_else(data, damage):
    damaged = bytearray(data)
    for place, value in damage:
        damaged[int(place * len(damaged))] = value
    try:
        assert decode(bytes(damaged), max_pixels=10_000).image.mode == "RGB"
    except InvalidImage as error:
        assert str(error)
