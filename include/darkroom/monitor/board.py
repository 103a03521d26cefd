"""The board: one page that draws what `/darkroom/api/plant` tells, inside Airflow's navigation."""

import gzip
import hashlib
from functools import cache
from pathlib import Path
from string import Template
from typing import Annotated, Final

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from darkroom.monitor.access import MAY_LOOK, rights
from darkroom.rest.api import CHILD_DAG_ID, DAG_ID, PAGES_DAG_ID

router = APIRouter(dependencies=[MAY_LOOK])

FOLDER: Final = Path(__file__).parent / "page"
_PAGE: Final = "board.html"
_TYPES: Final = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_GUARDED: Final = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
_FOR_EVER: Final = {**_GUARDED, "Cache-Control": "private, max-age=31536000, immutable"}


@cache
def parts() -> dict[str, bytes]:
    """What the page loads, by name."""
    return {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir()) if path.suffix in _TYPES}


@cache
def version() -> str:
    """A hash of all parts: in their address, so that a browser keeps them, and a new one is a new address."""
    together = hashlib.sha256()
    for name, content in parts().items():
        together.update(f"{name}\0{len(content)}\0".encode() + content)
    return together.hexdigest()[:16]


@cache
def packed(name: str) -> bytes:
    """A part as it goes over the wire."""
    return gzip.compress(parts()[name], 9, mtime=0)


@cache
def _page() -> Template:
    return Template((FOLDER / _PAGE).read_text())


def page(may: list[str]) -> str:
    """Its HTML, for somebody who may do `start` or `fence`: buttons that would be refused are not drawn."""
    dags = f"{DAG_ID} {CHILD_DAG_ID} {PAGES_DAG_ID}"
    return _page().substitute(version=version(), may=" ".join(may), dags=dags)


@router.get("/", include_in_schema=False)
def board(may: Annotated[list[str], Depends(rights)]) -> Response:
    """The page."""
    headers = {**_GUARDED, "Cache-Control": "no-store", "Content-Security-Policy": POLICY}
    return Response(page(may), media_type="text/html", headers=headers)


@router.get("/board/{of}/{name}", include_in_schema=False)
def part(request: Request, of: str, name: str) -> Response:
    """A part of the page, as it is in this version of it, and no other file."""
    if of != version() or name not in parts():
        raise HTTPException(404, "the board has no such part")
    headers = {**_FOR_EVER, "Vary": "Accept-Encoding"}
    body = parts()[name]
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = packed(name), "gzip"
    return Response(body, media_type=_TYPES[Path(name).suffix], headers=headers)
