"""A look at a batch: a page with thumbnails, and the same as one picture.

Both lie beside the manifest and need nothing else: pictures are inlined, texts are escaped, and the page
loads nothing. The plant serves the same page with the pictures themselves. Large batches are sampled evenly.
"""

import base64
import html
import io
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from PIL import Image, ImageOps

from darkroom.records import Result, Status
from darkroom.results.generations import rows_at
from darkroom.results.sheet_page import PAGE, policy
from darkroom.results.sheet_picture import THUMBNAIL_PX, Tile, draw
from darkroom.results.summary import Summary
from darkroom.store.batches import Batch

MAX_TILES = 96
_FILES = ("contact_sheet.html", "contact_sheet.png")


def render(batch: Batch, summary: Summary) -> dict[str, str]:
    """Write `contact_sheet.html` and `contact_sheet.png` into the generation; name to absolute URI.

    They are drawn once: the generation's rows never change.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    paths = {name: batch.manifest_path(summary.generation, name) for name in _FILES}
    if not all(batch.store.exists(path) for path in paths.values()):
        _draw(batch, summary, paths)
    return {name: batch.store.uri(path) for name, path in paths.items()}


def _draw(batch: Batch, summary: Summary, paths: Mapping[str, str]) -> None:
    tiles = [replace(tile, thumbnail=_thumbnail(batch, row)) for tile, row in _tiles(batch, summary)]
    as_page, as_picture = _FILES
    batch.store.create(paths[as_page], page(summary, tiles, policy("data:")).encode())
    batch.store.create(paths[as_picture], draw(summary, tiles))


def sample(n_rows: int, n_tiles: int = MAX_TILES) -> list[int]:
    """Positions of at most `n_tiles` rows, evenly spread, the first and the last among them."""
    if n_rows <= n_tiles:
        return list(range(n_rows))
    return [position * (n_rows - 1) // (n_tiles - 1) for position in range(n_tiles)]


def served_page(batch: Batch, summary: Summary, url_of: Callable[[str], str | None], links: str) -> str:
    """The page as the plant serves it.

    Args:
        batch: of which it is.
        summary: of the generation to show.
        url_of: where the picture with this URI is served; None: nowhere.
        links: HTML over the pictures.
    """
    tiles = [
        replace(tile, url=row.image_uri and url_of(row.image_uri)) for tile, row in _tiles(batch, summary)
    ]
    return page(summary, tiles, policy("'self'"), links)


def page(summary: Summary, tiles: Sequence[Tile], policy: str, links: str = "") -> str:
    """The page, as HTML."""
    shown = "" if len(tiles) == summary.items else f"{len(tiles)} of them, evenly spread, are shown."
    counts = {status: getattr(summary, status.value) for status in _FINAL}
    buttons = "".join(
        f'<button data-show="{status}" class="{status}">{_label(status)} <b>{count}</b></button>'
        for status, count in counts.items()
        if count
    )
    return PAGE.substitute(
        policy=html.escape(policy),
        title=html.escape(f"{summary.batch_id} · contact sheet"),
        batch_id=html.escape(summary.batch_id),
        about=html.escape(f"Flow {summary.flow}, manifest {summary.generation}: {summary}. {shown}".strip()),
        items=summary.items,
        links=links,
        buttons=buttons,
        tiles="\n".join(_figure(tile) for tile in tiles),
    )


_FINAL = (Status.COMPLETED, Status.REJECTED, Status.FAILED, Status.TIMED_OUT)


def _label(status: Status) -> str:
    return status.value.replace("_", " ")


def _figure(tile: Tile) -> str:
    name = html.escape(tile.custom_id)
    caption, note = html.escape(tile.caption), html.escape(tile.note)
    if tile.url:
        url = html.escape(tile.url)
        picture = f'<a href="{url}"><img alt="{caption or name}" loading="lazy" src="{url}"></a>'
    elif tile.thumbnail:
        picture = f'<img alt="{caption or name}" src="{_data_uri(tile.thumbnail)}">'
    else:
        picture = f'<div class="none">{note or "no picture"}</div>'
    return (
        f'<figure class="{tile.status}" data-status="{tile.status}">{picture}<figcaption>'
        f'<strong title="{name}">{name}</strong><span class="badge">{_label(tile.status)}</span>'
        f"<em>{note}</em><p>{caption}</p></figcaption></figure>"
    )


def _data_uri(thumbnail: Image.Image) -> str:
    data = io.BytesIO()
    thumbnail.save(data, "WEBP", quality=82)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"


def _tiles(batch: Batch, summary: Summary) -> Iterator[tuple[Tile, Result]]:
    """The tiles, still without pictures, and what they are made from."""
    positions = sample(summary.items)
    prompts = _prompts(batch, positions)
    for position, row in rows_at(batch, summary, positions).items():
        yield Tile(row.custom_id, row.status, prompts.get(position, ""), note_of(row)), row


def note_of(row: Result) -> str:
    """What there is to say of an item in a line."""
    if row.error is not None:
        return row.error.code
    said = list(row.verdict.reasons) if row.verdict is not None else []
    if "near_duplicate_of" in row.details:
        said.append(f"looks like {row.details['near_duplicate_of']}")
    return ", ".join(said)


def _prompts(batch: Batch, positions: Sequence[int]) -> dict[int, str]:
    """Prompts by position: rows lie in plan order, so the plan's sizes say which chunks to open."""
    index = batch.planned()
    prompts: dict[int, str] = {}
    start = 0
    for chunk_id, size in zip(index.chunk_ids, index.sizes, strict=True):
        here = positions[bisect_left(positions, start) : bisect_left(positions, start + size)]
        if here:
            told = batch.plan_table(chunk_id, ["prompt"])["prompt"].to_pylist()
            prompts |= {position: told[position - start] or "" for position in here}
        start += size
    return prompts


def _thumbnail(batch: Batch, row: Result) -> Image.Image | None:
    if row.image_uri is None:
        return None
    try:
        data = batch.store.read(batch.store.path(row.image_uri))
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            # Small pictures are enlarged: those of the demo model have 64 pixels.
            return ImageOps.contain(image.convert("RGB"), (THUMBNAIL_PX, THUMBNAIL_PX))
    except (FileNotFoundError, ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        return None  # the sheet only shows; `verify` is what finds a picture that is gone or broken
