"""Decode pictures from strangers: judged by content, measured before they are unpacked, made plain sRGB."""

import struct
import warnings
import zlib
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from darkroom.errors import InvalidImage
from darkroom.stages.options import MAX_PIXELS

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
"""What may come in. Pillow knows some forty; each more is a parser that strangers can talk to."""

# What Pillow's decoders have been seen to raise on broken files; a MemoryError is the host's trouble.
_DECODER_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError,
    RuntimeError, EOFError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
_SRGB = ImageCms.createProfile("sRGB")


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture."""

    image: Image.Image
    """Mode RGB in sRGB, upright, on white, first frame, without metadata."""
    format: str
    """What it was, such as `JPEG`."""
    notes: tuple[str, ...] = ()
    """What was broken and left out: `orientation_ignored`, `profile_ignored`."""


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Picture:
    """The picture in `data`, whatever its file was called.

    Raises:
        InvalidImage: empty, of a format not allowed, larger than `max_pixels`, truncated or broken.
    """
    if not data:
        raise InvalidImage("the file is empty (0 bytes)")
    with warnings.catch_warnings():
        # Our own limit is lower and raises; Pillow's warnings about broken metadata help nobody here.
        warnings.simplefilter("ignore")
        kind = _check(data, max_pixels)
        try:
            image: Image.Image = Image.open(BytesIO(data), formats=FORMATS)
            image.load()
        except _DECODER_ERRORS as error:
            raise InvalidImage(f"the {kind} is truncated or broken: {error}") from error
        notes: list[str] = []
        image = _upright(image, notes)
        try:
            image = _to_srgb(image, kind, notes)
        except _DECODER_ERRORS as error:
            raise InvalidImage(f"the {kind}'s colours can't be converted: {error}") from error
    # Built anew from the pixels alone, so that no EXIF, profile or comment can travel on.
    return Picture(Image.frombytes("RGB", image.size, image.tobytes()), kind, tuple(notes))


def format_of(data: bytes, max_pixels: int = MAX_PIXELS) -> str:
    """What a picture is, such as `JPEG`, by its header; its pixels are not looked at.

    Raises:
        InvalidImage: empty, of a format not allowed, or larger than `max_pixels`.
    """
    if not data:
        raise InvalidImage("the file is empty (0 bytes)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _check(data, max_pixels)


def _check(data: bytes, max_pixels: int) -> str:
    """The format, from the header alone; pixels are not decoded yet."""
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            kind = image.format or "picture"
            if width * height > max_pixels:
                raise InvalidImage(
                    f"the {kind} has {width} x {height} pixels; at most {max_pixels:,} are decoded"
                )
            image.verify()
    except Image.DecompressionBombError as error:
        raise InvalidImage(f"the picture is far too large: {error}") from error
    except UnidentifiedImageError as error:
        raise InvalidImage(_what_instead(data)) from error
    except _DECODER_ERRORS as error:
        raise InvalidImage(f"the picture's header is broken: {error}") from error
    return kind


def _what_instead(data: bytes) -> str:
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    allowed = ", ".join(FORMATS)
    if b"<svg" in head:
        return f"SVG is a program, not a picture; convert it to one of {allowed}"
    if head.startswith((b"<!doctype html", b"<html")):
        return f"this is an HTML page, not a picture; allowed are {allowed}"
    return f"not a picture of an allowed format, or its header is broken; allowed are {allowed}"


def _upright(image: Image.Image, notes: list[str]) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except _DECODER_ERRORS:
        notes.append("orientation_ignored")
        return image


def _to_srgb(image: Image.Image, kind: str, notes: list[str]) -> Image.Image:
    profile = image.info.get("icc_profile")
    image = _to_8_bit(image, kind)
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    alpha = image.getchannel("A") if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") else None
    if image.mode in ("RGBA", "RGBa", "PA"):
        image = image.convert("RGB")
    elif image.mode in ("LA", "La"):
        image = image.convert("L")
    if profile:
        image = _apply_profile(image, profile, notes)
    image = image.convert("RGB")
    if alpha is not None:
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=alpha)
        return white
    return image


def _to_8_bit(image: Image.Image, kind: str) -> Image.Image:
    """16-bit greys keep their upper byte; Pillow's own conversion would clip them to white."""
    if image.mode == "F":
        raise InvalidImage(f"the {kind} has floating-point pixels, whose white is unknown; save it as 16 bit")
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise InvalidImage(f"the {kind} has 32-bit pixels, whose white is unknown; save it as 16 bit")
    return Image.fromarray((values >> 8).astype(np.uint8))


def _apply_profile(image: Image.Image, profile: bytes, notes: list[str]) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, _SRGB, outputMode="RGB")
    # A broken or unfitting profile is common in the wild and no reason to lose the picture.
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("profile_ignored")
        return image
    return converted or image
