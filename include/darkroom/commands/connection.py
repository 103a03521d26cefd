"""Where commands find the plant's API, its Redis and its store."""

from darkroom import stack
from darkroom.commands.elsewhere import is_elsewhere, session
from darkroom.errors import BadRequest, NoSuchBatch
from darkroom.rest.api import CHILD_DAG_ID, DAG_ID, AirflowApi
from darkroom.settings import settings
from darkroom.stack.credentials import ADMIN
from darkroom.store.batches import Batch
from darkroom.store.storage import Store, open_store

__all__ = ["CHILD_DAG_ID", "DAG_ID", "api", "batch_named", "existing", "redis_url", "store"]


def api() -> AirflowApi:
    """A session with the plant's API: as the settings say, else that of the stack on this machine."""
    here = settings()
    if is_elsewhere():
        return session()
    if here.api_url:
        return AirflowApi(here.api_url, here.api_user, here.api_password.get_secret_value())
    return AirflowApi(stack.api_url(), ADMIN, stack.admin_password())


def redis_url() -> str:
    """What is live: as the settings say, else that of the stack on this machine; empty while none runs."""
    told = settings().redis_url.get_secret_value()
    return told or (stack.environment()["DARKROOM_REDIS_URL"] if stack.is_running() else "")


def store() -> Store:
    """The plant's store.

    Raises:
        BadRequest: only HTTP leads to the plant, so this machine would look into a store of its own.
    """
    if is_elsewhere():
        raise BadRequest(
            f"this reads the store itself, and only HTTP leads to the plant at {settings().api_url}; "
            "do it on the plant's machine, or look with: darkroom show"
        )
    return open_store(settings().store_url)


def batch_named(batch_id: str) -> Batch:
    """A batch of the store, whether it is there or not."""
    return Batch(store(), batch_id)


def existing(batch_id: str) -> Batch:
    """A batch that somebody has asked for.

    Raises:
        NoSuchBatch: nobody has.
    """
    batch = batch_named(batch_id)
    if not batch.exists():
        raise NoSuchBatch(f"there is no batch {batch_id!r} in {settings().store_url}; see: darkroom batches")
    return batch
