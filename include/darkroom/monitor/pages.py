"""The pages of a batch: its contact sheet, its files, its pictures."""

import html
import re
from typing import Annotated, Final

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, Response, StreamingResponse

from darkroom.errors import BadRequest
from darkroom.monitor.access import MAY_LOOK
from darkroom.monitor.refusals import refusals
from darkroom.results.contact_sheet import served_page
from darkroom.results.generations import committed, summary_of
from darkroom.results.onward import gone_on
from darkroom.results.sheet_page import NOTE, policy
from darkroom.settings import settings
from darkroom.store.batches import Batch, image_path
from darkroom.store.storage import Store, open_store

router = APIRouter(dependencies=[MAY_LOOK], responses=refusals(404, 503))

_LOOK_AGAIN_S = 10
_OF_A_GENERATION: Final = {
    "manifest.parquet": "application/vnd.apache.parquet",
    "manifest.jsonl": "application/x-ndjson",
    "errors.jsonl": "application/x-ndjson",
    "summary.json": "application/json",
    "contact_sheet.png": "image/png",
}
_REJECTS: Final = "rejects.jsonl"
FILES: Final = {**_OF_A_GENERATION, _REJECTS: "application/x-ndjson"}
"""All that is handed out, with its content type."""
_KEY: Final = re.compile(r"[0-9a-f]{40}")
_STAGE: Final = re.compile(r"[a-z][a-z0-9_]{0,30}")
_PRIVATE: Final = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
_FOR_EVER: Final = {**_PRIVATE, "Cache-Control": "private, max-age=31536000, immutable"}
"""For what lies under a hash of its making."""

Generation = Annotated[int | None, Query(ge=1, description="which manifest; default: the current one")]


def open_batch(batch_id: str) -> Batch:
    """The batch of this name.

    Raises:
        HTTPException: 404, there is none.
    """
    try:
        batch = Batch(_store(), batch_id)
    except BadRequest:
        raise HTTPException(404, "there is no such batch") from None
    if not batch.exists():
        raise HTTPException(404, "there is no such batch")
    return batch


@router.get("/batches/{batch_id}", response_class=HTMLResponse)
def contact_sheet(request: Request, batch_id: str, generation: Generation = None) -> Response:
    """The contact sheet of a manifest, with links to the files; before the first one, a page that says so."""
    batch, here = open_batch(batch_id), request.scope["root_path"]
    generations = committed(batch)
    if not generations and generation is None:
        about = "There is no manifest yet: it is written when all chunks have ended. This page looks again."
        return note(batch_id, about, look_again_s=_LOOK_AGAIN_S, links=_to_the_board(here))
    shown = _one_of(generations, generation)
    text = served_page(
        batch,
        summary_of(batch, shown),
        lambda uri: _image_url(batch.store, here, uri),
        _to_the_board(here) + _links(batch, f"{here}/batches/{batch_id}", generations, shown),
    )
    return HTMLResponse(text, headers=_page_headers("'self'"))


@router.get(
    "/batches/{batch_id}/files/{name}",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in FILES.values()}}},
)
def file(batch_id: str, name: str, generation: Generation = None) -> Response:
    """One of the files of a batch, and no others."""
    if name not in FILES:
        raise HTTPException(404, f"there are these files: {', '.join(FILES)}")
    batch = open_batch(batch_id)
    path = batch.rejects_path
    if name != _REJECTS:
        path = batch.manifest_path(_one_of(committed(batch), generation), name)
    return _streamed(batch.store, path, FILES[name], _PRIVATE, saved_as=f"{batch_id}-{name}")


@router.get(
    "/images/{stage}/{folder}/{key}.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}},
)
def image(stage: str, folder: str, key: str) -> Response:
    """A picture, by the path that it has in the store."""
    if not (_STAGE.fullmatch(stage) and _KEY.fullmatch(key) and key.startswith(folder) and len(folder) == 2):  # noqa: PLR2004
        raise HTTPException(404, "there is no such picture")
    return _streamed(_store(), image_path(stage, key), "image/png", _FOR_EVER)


def note(
    title: str, about: str, *, status: int = 200, look_again_s: int | None = None, links: str = ""
) -> HTMLResponse:
    """A page that only says something."""
    refresh = f'<meta http-equiv="refresh" content="{look_again_s}">' if look_again_s else ""
    text = NOTE.substitute(
        title=html.escape(title),
        about=html.escape(about),
        policy=html.escape(policy("'none'")),
        refresh=refresh,
        links=links,
    )
    return HTMLResponse(text, status, headers=_page_headers("'none'"))


def _page_headers(pictures: str) -> dict[str, str]:
    csp = f"{policy(pictures)}; frame-ancestors 'self'"
    return {**_PRIVATE, "Content-Security-Policy": csp, "Referrer-Policy": "same-origin"}


def _store() -> Store:
    return open_store(settings().store_url)


def _one_of(generations: list[int], asked: int | None) -> int:
    if not generations or (asked is not None and asked not in generations):
        raise HTTPException(404, "there is no such manifest yet")
    return asked or generations[-1]


def _image_url(store: Store, here: str, uri: str) -> str | None:
    try:
        return f"{here}/{store.path(uri)}"
    except ValueError:  # of another store, which we do not serve
        return None


def _links(batch: Batch, here: str, generations: list[int], shown: int) -> str:
    """The files of the shown generation that are there, and the other generations."""
    there = {path.rpartition("/")[2] for path in batch.store.list(f"{batch.manifests_path}/{shown:04d}")}
    names = [name for name in _OF_A_GENERATION if name in there]
    files = [(f"{here}/files/{name}?generation={shown}", name) for name in names]
    if summary_of(batch, shown).rejects:
        files.append((f"{here}/files/{_REJECTS}", _REJECTS))
    others = [(f"{here}?generation={number}", f"manifest {number}") for number in generations]
    above = here.rpartition("/")[0]
    then = [(f"{above}/{on.batch_id}", f"then {on.flow}: {on.items} items") for on in gone_on(batch)]
    rows = [row for row in (files, others if len(others) > 1 else [], then) if row]
    return "".join(f"<p>{_anchors(row)}</p>\n" for row in rows)


def _to_the_board(here: str) -> str:
    """The way back: inside Airflow's frame there is no other."""
    return f"<p>{_anchors([(f'{here}/', 'the plant')])}</p>\n"


def _anchors(links: list[tuple[str, str]]) -> str:
    return "".join(f'<a href="{html.escape(url)}">{html.escape(text)}</a>' for url, text in links)


def _streamed(
    store: Store, path: str, content_type: str, headers: dict[str, str], saved_as: str | None = None
) -> Response:
    try:
        size_bytes = store.size(path)
    except FileNotFoundError:
        raise HTTPException(404, "there is no such file yet") from None
    headers = {**headers, "Content-Length": str(size_bytes), "Content-Security-Policy": "default-src 'none'"}
    if saved_as:
        headers["Content-Disposition"] = f'attachment; filename="{saved_as}"'
    return StreamingResponse(store.stream(path), media_type=content_type, headers=headers)
