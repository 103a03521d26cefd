"""Whether the plant takes more work on: asked before a batch is started or planned."""

from darkroom.commands.connection import DAG_ID, api, redis_url
from darkroom.errors import BadRequest
from darkroom.live.backlog import backlog, refuse_when_full
from darkroom.live.progress import Progress
from darkroom.rest.api import FINAL_STATES, ApiError
from darkroom.settings import settings
from darkroom.views.looking import Lookout


def check_backlog(force: bool) -> None:
    """Refuse while more hours of work wait than `max_backlog_hours` allows, unless somebody insists.

    A plant that does not run has no backlog that anybody knows of.

    Raises:
        PlantFull: too much waits; with the wait, when to come back, and how to insist.
    """
    limit_h = settings().max_backlog_hours
    if force or not limit_h or not (url := redis_url()):
        return
    live = Lookout.at(url)
    forget_ended(live.progress)
    refuse_when_full(backlog(live.progress, live.rates, live.fleet), limit_h)


def forget_ended(progress: Progress) -> None:
    """Take what a person ended by hand, in Airflow's UI, off the active batches: no task could say so."""
    for batch_id in progress.active():
        try:
            state = api().newest_run(DAG_ID, batch_id).state
        except (BadRequest, ApiError):  # a run that was deleted tells nothing; an API that is away, neither
            continue
        if state in FINAL_STATES:
            progress.end(batch_id, state)
