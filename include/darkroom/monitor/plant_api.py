"""The whole plant over HTTP, and the schema of all that is told over HTTP."""

import gzip
import threading
import time
from functools import cache
from typing import Any

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.configuration import conf
from fastapi import APIRouter, Request, Response
from sqlalchemy.orm import Session

from darkroom.monitor import chunks
from darkroom.monitor.access import MAY_LOOK
from darkroom.settings import settings
from darkroom.views.overview import Overview
from darkroom.views.survey import Surveyor

LEAST_S = 2.0
"""So long one look serves everybody: ten boards cost what one costs."""
REST = 9
"""A look that takes long is followed by so many times as long without one."""

router = APIRouter(prefix="/api", dependencies=[MAY_LOOK])


class Looks:
    """Looks at the plant, each shared by all who ask while it is fresh; safe to use from many threads."""

    def __init__(self, surveyor: Surveyor) -> None:
        """Of the plant that `surveyor` looks at."""
        self._surveyor, self._lock = surveyor, threading.Lock()
        self._last: tuple[Overview, bytes, bytes] | None = None
        self._until = 0.0

    def latest(self, session: Session) -> tuple[Overview, bytes, bytes]:
        """A look, its JSON, and that packed by gzip: a tenth of it, packed once for all."""
        with self._lock:
            begun = time.monotonic()
            if self._last is None or begun >= self._until:
                seen = self._surveyor.look(chunks.look(session))
                body = seen.model_dump_json().encode()
                self._last = seen, body, gzip.compress(body, 1)
                took_s = time.monotonic() - begun
                self._until = begun + took_s + max(LEAST_S, REST * took_s)
            return self._last


@cache
def looks() -> Looks:
    """Those at the plant that this api-server belongs to."""
    return Looks(Surveyor(settings().redis_url.get_secret_value(), conf.get("celery", "broker_url")))


def latest(session: Session) -> Overview:
    """The plant now, as everybody here sees it."""
    return looks().latest(session)[0]


@router.get("/plant", response_model=Overview)
def plant(request: Request, session: SessionDep) -> Response:
    """The plant now: what `darkroom top` shows; a look is shared for two seconds or more, see `seen`."""
    _, body, packed = looks().latest(session)
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = packed, "gzip"
    return Response(body, media_type="application/json", headers=headers)


@router.get("/openapi.json", include_in_schema=False)
def schema(request: Request) -> dict[str, Any]:
    """OpenAPI, for whoever is logged in."""
    return {**request.app.openapi(), "servers": [{"url": request.scope["root_path"]}]}
