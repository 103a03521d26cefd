"""Telling who asked for it what became of a batch: the tasks of `callback_flow`, and what they need."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from darkroom.orchestration.tasks import store_patience

if TYPE_CHECKING:
    from darkroom.delivery.event import Kind

CALLBACK_FLOW = "callback_flow"
CONNECTION = "darkroom_callback"
"""The Airflow connection whose password is the secret that signs."""
TRIES = 16
_FIRST_WAIT, _LONGEST_WAIT = timedelta(seconds=10), timedelta(hours=4)
"""Doubled each time, with Airflow's jitter: a receiver that is down for a day is still told."""


def refuse_untold(url: str) -> None:
    """Refuse a `callback_url` at once, if nobody could be told at the end.

    Raises:
        HostNotAllowed: that host.
        BadRequest: there is no secret to sign with.
    """
    from darkroom.delivery.hosts import refuse_callback
    from darkroom.settings import settings

    refuse_callback(url, settings().callback_hosts)
    _secrets()


def start_of(kind: "Kind", batch_id: str, run_id: str, url: str, at: str, again: int = 0) -> dict[str, Any]:
    """The run of `callback_flow` for an event, the same whoever starts it: its id and its conf.

    Args:
        kind: what has happened.
        batch_id: to which batch.
        run_id: in which run of `image_flow`.
        url: whom to tell.
        at: when, in ISO 8601.
        again: how often that run was cleared: then it may end again.
    """
    suffix = f"__{again}" if again else ""
    conf = {"event": kind, "batch_id": batch_id, "run_id": run_id, "callback_url": url, "at": at}
    return {"run_id": f"{run_id}__{kind}{suffix}", "conf": conf}


@task
def compose() -> dict[str, Any]:
    """What is told, fixed before the first try: every try must send the same."""
    from airflow.sdk.configuration import conf as airflow_settings

    from darkroom.delivery.event import event_of
    from darkroom.results.manifest import current
    from darkroom.settings import settings
    from darkroom.store.batches import Batch
    from darkroom.store.storage import open_store

    params = get_current_context()["params"]
    with store_patience():
        summary = current(Batch(open_store(settings().store_url), params["batch_id"]))
    base = airflow_settings.get("api", "base_url", fallback="").rstrip("/")
    return event_of(params["event"], params["at"], params["batch_id"], params["run_id"], summary, base)


# One at a time, for a receiver that hangs keeps a slot for light work that long.
@task(
    retries=TRIES - 1,
    retry_delay=_FIRST_WAIT,
    retry_exponential_backoff=2.0,
    max_retry_delay=_LONGEST_WAIT,
    retry_policy=None,
    execution_timeout=timedelta(seconds=60),
    max_active_tis_per_dag=1,
)
def post(event: dict[str, Any]) -> str:
    """Sign the event and post it; what does not get through waits for its next try without a slot."""
    from darkroom.delivery.webhook import deliver, message_id
    from darkroom.errors import CallbackGone, HostNotAllowed
    from darkroom.live.gone import Gone
    from darkroom.settings import settings

    url, batch_id = get_current_context()["params"]["callback_url"], event["data"]["batch_id"]
    msg_id = message_id(batch_id, event["type"], event["timestamp"])
    gone = Gone(settings().redis_url.get_secret_value())
    if gone.knows(batch_id, url):
        raise AirflowFailException(f"{msg_id} is not sent: to an earlier event the answer was 410 Gone")
    try:
        status = deliver(url, msg_id, event, _secrets(), settings().callback_hosts)
    except (CallbackGone, HostNotAllowed) as error:
        if isinstance(error, CallbackGone):
            gone.add(batch_id, url)
        raise AirflowFailException(f"{msg_id} is not sent again: {error}") from error
    return f"{msg_id} delivered: {event['type']} of batch {batch_id}, answer {status}"


def _secrets() -> str:
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    from darkroom.delivery.webhook import check_secrets
    from darkroom.errors import BadRequest

    try:
        secrets = str(Connection.get(CONNECTION).password or "")
    except AirflowNotFoundException:
        raise BadRequest(
            f"callback_url: there is no Airflow connection {CONNECTION!r}, whose password signs; "
            "see docs/how-to/callbacks.md"
        ) from None
    try:
        check_secrets(secrets)
    except BadRequest as error:
        raise BadRequest(f"callback_url: the password of connection {CONNECTION!r}: {error}") from None
    return secrets
