"""Where commands find the plant: its API, its Redis, its store."""

from darkroom import stack
from darkroom.api import AirflowApi
from darkroom.batches import Batch
from darkroom.errors import BadRequest
from darkroom.settings import settings
from darkroom.stack.credentials import ADMIN
from darkroom.storage import open_store

DAG_ID, CHILD_DAG_ID = "image_flow", "shard_flow"


def api() -> AirflowApi:
    """A session with the plant's API: as the settings say, else that of the stack on this machine."""
    here = settings()
    if here.api_url:
        return AirflowApi(here.api_url, here.api_user, here.api_password.get_secret_value())
    return AirflowApi(stack.api_url(), ADMIN, stack.admin_password())


def redis_url() -> str:
    """What is live: as the settings say, else that of the stack on this machine; empty while none runs."""
    told = settings().redis_url.get_secret_value()
    return told or (stack.environment()["DARKROOM_REDIS_URL"] if stack.is_running() else "")


def batch_named(batch_id: str) -> Batch:
    """A batch of the store, whether it is there or not."""
    return Batch(open_store(settings().store_url), batch_id)


def existing(batch_id: str) -> Batch:
    """A batch that somebody has asked for.

    Raises:
        BadRequest: nobody has.
    """
    batch = batch_named(batch_id)
    if not batch.exists():
        raise BadRequest(f"there is no batch {batch_id!r} in {settings().store_url}; see: darkroom batches")
    return batch
