"""A contact sheet as one picture."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from darkroom.records import Status
from darkroom.results.summary import Summary

THUMBNAIL_PX = 160

COLOURS = {
    Status.COMPLETED: "#1f8a4c",
    Status.REJECTED: "#d98200",
    Status.FAILED: "#c62f2f",
    Status.TIMED_OUT: "#7b4bc4",
}
_BACK, _CARD, _TEXT, _SOFT = "#f4f4f2", "#ffffff", "#1c1d1f", "#666a70"
_BORDER_PX, _GAP_PX, _LINES_PX, _HEAD_PX = 4, 12, 52, 68
_MAX_COLUMNS = 12


@dataclass(frozen=True, slots=True)
class Tile:
    """One item on the sheet."""

    custom_id: str
    status: Status
    caption: str
    """Its prompt; empty for an uploaded picture."""
    note: str
    """Why it was not accepted, or that it looks like another."""
    thumbnail: Image.Image | None = None
    """RGB, `THUMBNAIL_PX` wide or high, and no more; None: there is no picture, or none that can be read."""
    url: str | None = None
    """Where its picture is served; None on a sheet that stands alone."""


def draw(summary: Summary, tiles: Sequence[Tile]) -> bytes:
    """The sheet as PNG: a header, then a grid of tiles with borders in the colour of their status."""
    columns = _columns(len(tiles))
    lines = -(-len(tiles) // columns)
    pitch_x = THUMBNAIL_PX + 2 * _BORDER_PX + _GAP_PX
    pitch_y = pitch_x + _LINES_PX
    size = (columns * pitch_x + _GAP_PX, _HEAD_PX + lines * pitch_y + _GAP_PX)
    sheet = Image.new("RGB", size, _BACK)
    pen = ImageDraw.Draw(sheet)
    width = size[0] - 2 * _GAP_PX
    pen.text((_GAP_PX, 10), _fit(pen, summary.batch_id, _font(22), width), _TEXT, _font(22))
    about = f"flow {summary.flow} · {summary}"
    pen.text((_GAP_PX, 40), _fit(pen, about, _font(13), width), _SOFT, _font(13))
    for place, tile in enumerate(tiles):
        x = _GAP_PX + place % columns * pitch_x
        y = _HEAD_PX + place // columns * pitch_y
        _draw_tile(sheet, pen, tile, x, y)
    data = io.BytesIO()
    sheet.save(data, "PNG")
    return data.getvalue()


def _columns(n_tiles: int) -> int:
    """About 3:2, at least 4 so that the header has room."""
    return max(4, min(_MAX_COLUMNS, round(math.sqrt(n_tiles * 1.9))))


def _draw_tile(sheet: Image.Image, pen: ImageDraw.ImageDraw, tile: Tile, x: int, y: int) -> None:
    colour = COLOURS.get(tile.status, _SOFT)
    outer = THUMBNAIL_PX + 2 * _BORDER_PX
    pen.rectangle((x, y, x + outer - 1, y + outer - 1), _CARD, colour, _BORDER_PX)
    if tile.thumbnail is not None:
        left = x + (outer - tile.thumbnail.width) // 2
        top = y + (outer - tile.thumbnail.height) // 2
        sheet.paste(tile.thumbnail, (left, top))
    else:
        text = _fit(pen, tile.note or "no picture", _font(14), THUMBNAIL_PX - 16)
        pen.text((x + outer // 2, y + outer // 2), text, colour, _font(14), anchor="mm")
    said = f"{tile.status.value.replace('_', ' ')}{' · ' + tile.note if tile.note else ''}"
    for text, ink, size, down in (
        (tile.custom_id, _TEXT, 13, 3),
        (said, colour, 11, 19),
        (tile.caption, _SOFT, 11, 33),
    ):
        pen.text((x, y + outer + down), _fit(pen, text, _font(size), outer), ink, _font(size))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fit(
    pen: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width_px: int
) -> str:
    """As much of the first 200 characters as fits, on one line."""
    line = " ".join(text[:200].split())
    if pen.textlength(line, font) <= width_px:
        return line
    while line and pen.textlength(line + "…", font) > width_px:
        line = line[:-1]
    return line + "…"
