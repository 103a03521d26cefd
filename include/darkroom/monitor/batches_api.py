"""Batches over HTTP: what Airflow's own API does not know of them."""

from collections.abc import Callable
from typing import Annotated, Any

from airflow.api_fastapi.common.db.common import SessionDep
from airflow.models import DagRun
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from sqlalchemy import select
from sqlalchemy.orm import Session

from darkroom.days import Daily, given
from darkroom.delivery.hosts import refuse_callback
from darkroom.errors import BadRequest, DarkroomError, NoSuchBatch, NotPlanned, PlantFull
from darkroom.flows import FLOWS
from darkroom.live.backlog import backlog, refuse_when_full
from darkroom.monitor.access import DAG_ID, MAY_LOOK, MAY_START
from darkroom.monitor.refusals import refusals
from darkroom.rest.api import CHILD_DAG_ID, FINAL_STATES, Run
from darkroom.settings import settings
from darkroom.sources import look_up
from darkroom.stages.options import check_options
from darkroom.store.batches import Batch
from darkroom.store.storage import open_store
from darkroom.views.looking import Lookout, Steering
from darkroom.views.sight import Sight

_PAGE = 500
"""Runs that are looked through at once for a batch whose name was made from its run's id."""


class _Route(APIRoute):
    """Answers our own errors with their message, and a status that says whose fault it is."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """As FastAPI asks for it, once a route."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except DarkroomError as error:
                raise HTTPException(_status(error), str(error)) from error

        return answer


router = APIRouter(
    prefix="/api", dependencies=[MAY_LOOK], route_class=_Route, responses=refusals(400, 404, 503)
)


class Wish(BaseModel):
    """What a person asks of a batch that is under way."""

    model_config = ConfigDict(extra="forbid")
    state: Steering


class Wanted(BaseModel):
    """A batch that somebody would like to start."""

    model_config = ConfigDict(extra="forbid")
    source: Annotated[str, Field(min_length=1, max_length=2048)]
    flow: str
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    force: StrictBool = False
    callback_url: str | None = None


@router.get("/batches/{batch_id}")
def show(batch_id: str, session: SessionDep) -> dict[str, Any]:
    """The JSON object of `darkroom show BATCH --json`."""
    return Sight.of(_batch(batch_id), _live(), newest_run(session, batch_id)).told


@router.get("/batches/{batch_id}/request")
def request(batch_id: str) -> dict[str, Any]:
    """What was asked for: the conf that starts the batch, or with `"retry": true` takes it up again."""
    try:
        return _batch(batch_id).request().conf
    except NotPlanned:
        raise NoSuchBatch(f"there is no batch {batch_id!r}, or it is not planned yet") from None


@router.put("/batches/{batch_id}/wish", dependencies=[MAY_START])
def steer(batch_id: str, wish: Wish, session: SessionDep) -> Wish:
    """Pause a batch, resume it, or have its chunks stop for good: ending its runs is Airflow's part."""
    run = newest_run(session, _batch(batch_id).batch_id)
    if run is None:
        raise NoSuchBatch(f"no run works on batch {batch_id!r}")
    ended = run.state in FINAL_STATES and not _children_run(session, batch_id)
    _live().wish(batch_id, wish.state, ended=ended)
    return wish


@router.post("/batches/check", dependencies=[MAY_START], responses=refusals(429))
def check(wanted: Wanted) -> Wanted:
    """Refuse what `plan` would: wrong options, a source that is not there or not allowed, a full plant."""
    here, live = settings(), _live()
    if wanted.flow not in FLOWS:
        raise BadRequest(f"flow {wanted.flow!r}: choose one of {', '.join(FLOWS)}")
    check_options(wanted.flow, wanted.options)
    look_up(wanted.source, here.source_roots, here.pages)
    if wanted.callback_url:
        refuse_callback(wanted.callback_url, here.callback_hosts)
    if not wanted.force:
        refuse_when_full(backlog(live.progress, live.rates, live.fleet), here.max_backlog_hours)
    return wanted


@router.get("/daily")
def daily() -> Daily:
    """What `daily_flow` runs every day: whoever asks for a backfill must know whose days they are."""
    return given(settings().daily)


def newest_run(session: Session, batch_id: str) -> Run | None:
    """The newest run that works on a batch, from Airflow's own tables."""
    runs = (
        select(DagRun.run_id, DagRun.state, DagRun.conf)
        .where(DagRun.dag_id == DAG_ID)
        .order_by(DagRun.run_after.desc())
    )
    # A name that was given stands in the run's conf; one made from the run's id does not.
    name = DagRun.conf["batch_id"].as_string()
    named = runs.where(name == batch_id).limit(1)
    nameless = runs.where(name.is_(None)).execution_options(yield_per=_PAGE)
    for query in (named, nameless):
        for run_id, state, conf in session.execute(query):
            run = Run(run_id, str(state), conf or {})
            if run.batch_id == batch_id:
                return run
    return None


def _children_run(session: Session, batch_id: str) -> bool:
    children = select(DagRun.id).where(
        DagRun.dag_id == CHILD_DAG_ID,
        DagRun.conf["batch_id"].as_string() == batch_id,
        DagRun.state.not_in(FINAL_STATES),
    )
    return session.scalar(children.limit(1)) is not None


def _batch(batch_id: str) -> Batch:
    return Batch(open_store(settings().store_url), batch_id)


def _live() -> Lookout:
    return Lookout.at(settings().redis_url.get_secret_value())


def _status(error: DarkroomError) -> int:
    for kind, status in ((NoSuchBatch, 404), (PlantFull, 429), (BadRequest, 400)):
        if isinstance(error, kind):
            return status
    return 503
