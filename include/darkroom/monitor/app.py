"""The app at `/darkroom` of Airflow's api-server."""

from fastapi import FastAPI

from darkroom.monitor import batches_api, pages
from darkroom.monitor.access import LOGGED_IN


def create_app() -> FastAPI:
    """All our routes; none of them answers somebody who is not logged in."""
    # The generated pages of the API would be routes that nothing guards.
    app = FastAPI(title="Darkroom", dependencies=[LOGGED_IN], docs_url=None, redoc_url=None, openapi_url=None)
    app.include_router(pages.router)
    app.include_router(batches_api.router)
    return app
