"""The app at `/darkroom` of Airflow's api-server."""

from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from starlette.exceptions import HTTPException

from darkroom.errors import StoreUnavailable
from darkroom.monitor import batches_api, board, metrics, pages, plant_api, servers_api
from darkroom.monitor.access import LOGGED_IN, SAME_ORIGIN
from darkroom.monitor.refusals import OF_ALL


def create_app() -> FastAPI:
    """All our routes; none of them answers somebody who is not logged in, or has no token to scrape."""
    # The generated pages of the API would be routes that nothing guards.
    app = FastAPI(
        title="Darkroom",
        dependencies=[LOGGED_IN, SAME_ORIGIN],
        responses=OF_ALL,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.add_exception_handler(HTTPException, _refusal)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(StoreUnavailable, _no_store)
    app.include_router(board.router)
    app.include_router(pages.router)
    app.include_router(batches_api.router)
    app.include_router(plant_api.router)
    app.include_router(servers_api.router)
    app.router.routes.extend(metrics.router.routes)  # with a guard of its own, instead of the app's
    return app


async def _refusal(request: Request, error: Exception) -> Response:
    """To a person a page, and first of all the way to the login; to a program JSON."""
    assert isinstance(error, HTTPException)  # noqa: S101 - that is what it is registered for
    if "text/html" not in request.headers.get("accept", ""):
        return await http_exception_handler(request, error)
    if error.status_code == 401:  # noqa: PLR2004
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(
            f"{request.base_url.path}api/v2/auth/login?next={quote(here, safe='')}", status_code=303
        )
    return pages.note("Darkroom", str(error.detail), status=error.status_code)


async def _invalid(_request: Request, error: Exception) -> Response:
    """FastAPI's own repeats what was sent, and fails where JSON has no word for it: NaN, half a character."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - that is what it is registered for
    found = [{name: one[name] for name in ("loc", "msg", "type")} for one in error.errors()]
    return JSONResponse({"detail": found}, 422)


async def _no_store(_request: Request, _error: Exception) -> Response:
    return JSONResponse({"detail": "the store does not answer; try again later"}, 503)
