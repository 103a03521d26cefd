"""A run's own deadline, carried by Airflow's deadline alerts: when it is, and what happens when it is missed.

Airflow keeps the deadline in its database and looks at it in the scheduler's loop; the callback runs in the
triggerer. So it survives restarts and holds no slot.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk.definitions.callback import AsyncCallback
from airflow.sdk.definitions.deadline import BaseDeadlineReference, DeadlineAlert

from darkroom.errors import DarkroomError

log = logging.getLogger(__name__)
_AGAIN_S = 15.0
"""How soon the API is asked again when it does not answer."""


class DeadlineOfRun(BaseDeadlineReference):
    """The `deadline` that a run was started with; none for a run without."""

    required_kwargs = frozenset({"dag_id", "run_id"})

    def _evaluate_with(self, *, session: Any, dag_id: str, run_id: str) -> datetime | None:
        """As Airflow asks when it makes the run."""
        from airflow.models.dagrun import DagRun
        from sqlalchemy import select

        where = (DagRun.dag_id == dag_id, DagRun.run_id == run_id)
        return deadline_of(session.scalar(select(DagRun.conf).where(*where)))


def deadline_of(conf: dict[str, Any] | None) -> datetime | None:
    """The deadline in a run's conf; None for one that `plan` refuses, too."""
    try:
        found = datetime.fromisoformat((conf or {})["deadline"])
        return found.astimezone(UTC) if found.tzinfo else None
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


async def missed(context: dict[str, Any]) -> str:
    """A run has not ended by its deadline: say so, on the run too; tell who asked; cancel, if asked to.

    Args:
        context: `dag_run` as the REST API shows it, and `deadline`.
    """
    run = context["dag_run"]
    while True:
        try:
            return await asyncio.to_thread(_act, str(run["dag_run_id"]), dict(run["conf"] or {}))
        except DarkroomError as error:
            if not error.retryable:
                raise
            log.warning("deadline of %s: %s", run["dag_run_id"], error)
            await asyncio.sleep(_AGAIN_S)


def _act(run_id: str, conf: dict[str, Any]) -> str:
    from darkroom.delivery.hosts import allowed_url
    from darkroom.errors import HostNotAllowed
    from darkroom.orchestration.telling import CALLBACK_FLOW, start_of
    from darkroom.records import batch_id_for
    from darkroom.rest.api import DAG_ID, FINAL_STATES, AirflowApi, RunExists
    from darkroom.settings import settings
    from darkroom.views.looking import Lookout

    here = settings()
    api = AirflowApi(here.api_url, here.api_user, here.api_password.get_secret_value())
    batch_id = batch_id_for(conf.get("batch_id"), run_id)
    if api.run_state(DAG_ID, run_id) in FINAL_STATES:
        return f"batch {batch_id} had ended"
    said = f"late: the deadline {conf['deadline']} has passed"
    log.error("batch %s is %s", batch_id, said)
    api.note(DAG_ID, run_id, said)
    if url := conf.get("callback_url"):
        try:
            allowed_url(url, here.callback_hosts)
            start = start_of("batch.late", batch_id, run_id, url, datetime.now(UTC).isoformat())
            api.trigger(CALLBACK_FLOW, **start)
        except (HostNotAllowed, RunExists):
            pass  # `plan` has said so; or this is a second try
    if conf.get("cancel_at_deadline"):
        Lookout.at(here.redis_url.get_secret_value()).wish(batch_id, "cancelled", ended=False)
        ended = api.end_runs(batch_id)
        log.error("batch %s is cancelled at its deadline: ended %s", batch_id, ", ".join(ended) or "nothing")
        api.note(DAG_ID, run_id, f"{said}, and it was cancelled")
    return said


DEADLINE = DeadlineAlert(
    reference=DeadlineOfRun(), interval=timedelta(0), callback=AsyncCallback(missed), name="deadline"
)
