"""`/darkroom/metrics`: the plant for Prometheus. Every api-server answers the same."""

import hmac
import shutil
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as StillAsking
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from airflow.jobs.job import Job
from airflow.models import DagRun
from airflow.models.deadline import Deadline
from airflow.utils.state import DagRunState
from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from darkroom.errors import StoreUnavailable
from darkroom.fleet.plant import MARKER
from darkroom.live.totals import Totals
from darkroom.monitor import plant_api
from darkroom.monitor.access import DAG_ID, may_look
from darkroom.monitor.exposition import Around, exposed
from darkroom.monitor.refusals import OF_ALL
from darkroom.settings import settings
from darkroom.store.storage import open_store

_PROCESSES: Final = {
    "SchedulerJob": "scheduler",
    "DagProcessorJob": "dag_processor",
    "TriggererJob": "triggerer",
}
_PATIENCE_S: Final = 3.0
"""Prometheus itself waits 10 s; a store that needs longer than this for a look is down for its users, too."""


async def may_scrape(
    request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)]
) -> None:
    """Let in who has the token for scraping, or may see the runs of `image_flow`.

    Raises:
        HTTPException: 401 or 403, neither.
    """
    token = settings().metrics_token.get_secret_value()
    if token and bearer and hmac.compare_digest(bearer.credentials.encode(), token.encode()):
        return
    user = await get_user(request, None, bearer)
    await run_in_threadpool(may_look, request, user)


router = APIRouter(dependencies=[Depends(may_scrape)])
"""Put into the app without the app's own dependency, a login: a Prometheus has none."""


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}, "application/openmetrics-text": {}}}, **OF_ALL},
)
def metrics(request: Request, session: SessionDep) -> Response:
    """The plant in Prometheus' text format, or in OpenMetrics where that is asked for."""
    plant = plant_api.latest(session)
    totals = Totals(settings().redis_url.get_secret_value()).read()
    body, content_type = exposed(plant, totals, _around(session), request.headers.get("accept", ""))
    return Response(body, media_type=content_type, headers={"Cache-Control": "no-store"})


def _around(session: Session) -> Around:
    free = size = None
    url = urlsplit(settings().store_url)
    up = _store_watch().answers()
    if up and url.scheme == "file":
        disk = shutil.disk_usage(url2pathname(url.path))
        free, size = disk.free, disk.total
    return Around(_beats(session), _late(session), up, free, size)


def _beats(session: Session) -> dict[str, float]:
    """Of those that ended, too: who is gone shall be missed."""
    rows = session.execute(select(Job.job_type, func.max(Job.latest_heartbeat)).group_by(Job.job_type))
    return {_PROCESSES[job]: at.timestamp() for job, at in rows if job in _PROCESSES and at is not None}


def _late(session: Session) -> int:
    late = (
        select(func.count(Deadline.dagrun_id.distinct()))
        .join(DagRun, DagRun.id == Deadline.dagrun_id)
        .where(DagRun.dag_id == DAG_ID, DagRun.state.in_([DagRunState.QUEUED, DagRunState.RUNNING]))
        .where(Deadline.deadline_time < datetime.now(UTC))
    )
    return session.scalar(late) or 0


class _StoreWatch:
    """Asks the store one question at a time: a thread that waits for a dead one for minutes is enough."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-watch")
        self._lock = threading.Lock()
        self._asked: Future[bool] | None = None

    def answers(self) -> bool:
        """Whether the plant's marker is found in time."""
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = self._thread.submit(self._ask)
            asked = self._asked
        try:
            return asked.result(_PATIENCE_S)
        except StillAsking:
            return False

    @staticmethod
    def _ask() -> bool:
        try:
            return open_store(settings().store_url).exists(MARKER)
        except StoreUnavailable:
            return False


@cache
def _store_watch() -> _StoreWatch:
    return _StoreWatch()
