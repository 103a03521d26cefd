"""What Airflow tells us: that a run has ended, by itself or because somebody ended it.

Airflow calls these in the scheduler, or in the api-server where a person sets a run's state. Of a run
with `callback_url`, a run of `callback_flow` is made in the metadata database, so
`image_flow` needs no task for it, and is told of whichever way it ends.
"""

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from darkroom.delivery.event import Kind

log = logging.getLogger(__name__)
IMAGE_FLOW = "image_flow"


@hookimpl
def on_dag_run_success(dag_run: Any) -> None:
    """A run has succeeded."""
    _tell(dag_run, succeeded=True)


@hookimpl
def on_dag_run_failed(dag_run: Any) -> None:
    """A run has failed, or was ended: no task of it could say that it is no longer under way."""
    if dag_run.dag_id == IMAGE_FLOW:
        _take_off(dag_run)
    _tell(dag_run, succeeded=False)


def _take_off(dag_run: Any) -> None:
    """Off the active batches: what a dead batch has left is no work that waits."""
    from darkroom.live.control import Control
    from darkroom.live.progress import Progress
    from darkroom.settings import settings

    url, batch_id = settings().redis_url.get_secret_value(), _batch_id(dag_run)
    cancelled = Control(url).state(batch_id) == "cancelled"
    Progress(url).end(batch_id, "cancelled" if cancelled else "failed")


def _batch_id(dag_run: Any) -> str:
    from darkroom.records import batch_id_for

    return batch_id_for((dag_run.conf or {}).get("batch_id"), dag_run.run_id)


def _tell(dag_run: Any, succeeded: bool) -> None:
    url = (dag_run.conf or {}).get("callback_url")
    if dag_run.dag_id != IMAGE_FLOW or not url:
        return
    from darkroom.delivery.hosts import allowed_url
    from darkroom.errors import HostNotAllowed
    from darkroom.live.control import Control
    from darkroom.orchestration.telling import start_of
    from darkroom.settings import settings

    try:
        allowed_url(url, settings().callback_hosts)
    except HostNotAllowed:
        return  # `plan` has said so
    batch_id = _batch_id(dag_run)
    control = Control(settings().redis_url.get_secret_value())
    kind: Kind = "batch.completed" if succeeded else "batch.failed"
    if not succeeded and control.state(batch_id) == "cancelled":
        kind = "batch.cancelled"
    now = datetime.now(UTC)
    _start(**start_of(kind, batch_id, dag_run.run_id, url, now.isoformat(), dag_run.clear_number), now=now)


def _start(run_id: str, conf: dict[str, Any], now: datetime) -> None:
    """Make the run, in a transaction of its own: that of the scheduler is not ours to commit."""
    from airflow.models.dagbag import DBDagBag
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy.exc import IntegrityError

    from darkroom.orchestration.telling import CALLBACK_FLOW

    try:
        with create_session(scoped=False) as session:
            dag = DBDagBag().get_latest_version_of_dag(CALLBACK_FLOW, session=session)
            if dag is None:
                log.error("%s is not told, for there is no DAG %s", run_id, CALLBACK_FLOW)
                return
            dag.create_dagrun(
                run_id=run_id, run_after=now, conf=conf, run_type=DagRunType.MANUAL,
                triggered_by=DagRunTriggeredByType.OPERATOR, state=DagRunState.QUEUED, session=session,
            )  # fmt: skip
    except IntegrityError:
        log.info("%s is there already", run_id)
