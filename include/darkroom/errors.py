"""Every error Darkroom raises on purpose.

Each class says whose fault it is and whether trying again helps. Airflow's retry policy is derived
from these two facts in one place (`orchestration/defaults.py`); an item's row in the manifest
carries `code` and the message.
"""

from typing import ClassVar, Literal

Fault = Literal["user", "item", "host", "plant"]


class DarkroomError(Exception):
    """Something went wrong in Darkroom."""

    code: ClassVar[str] = "error"
    fault: ClassVar[Fault] = "plant"
    retryable: ClassVar[bool] = False
    retry_after_s: ClassVar[float] = 5
    """How soon a chunk that it ended is offered to all hosts again."""


class BadRequest(DarkroomError):
    """What was asked for can't be done as it stands; the message names the field and what to do."""

    code = "bad_request"
    fault = "user"


class NoSuchBatch(BadRequest):
    """Nobody has asked for a batch of that name."""

    code = "no_such_batch"


class NotAllowed(BadRequest):
    """The plant refuses who asks: a wrong password, a token that has run out, or too few rights."""

    code = "not_allowed"


class SourceNotAllowed(BadRequest):
    """The source lies outside every allowed root."""

    code = "source_not_allowed"


class HostNotAllowed(BadRequest):
    """The plant may not speak to that host; the message says why."""

    code = "host_not_allowed"


class HostUnknown(DarkroomError):
    """DNS has no address for a host, or does not answer."""

    code = "host_unknown"
    retryable = True


class NotDelivered(DarkroomError):
    """The receiver of a callback did not take it; the same is sent again later."""

    code = "not_delivered"
    fault = "user"
    retryable = True


class CallbackGone(DarkroomError):
    """The receiver of a callback wants no more."""

    code = "callback_gone"
    fault = "user"


class SourceMissing(BadRequest):
    """There is nothing at the place that the source names."""

    code = "source_missing"


class SourceChanged(BadRequest):
    """The source is no longer the one that this batch was planned from."""

    code = "source_changed"


class PageRefused(BadRequest):
    """A page of an HTTP source can't be used, and asking again would not help; the message says why."""

    code = "page_refused"


class PagesMissing(BadRequest):
    """More pages of an HTTP source are missing than may be; the message names them."""

    code = "pages_missing"


class PageAway(DarkroomError):
    """An HTTP source did not answer, or not as it should; the same may work later."""

    code = "page_away"
    fault = "user"
    retryable = True


class PageDelayed(PageAway):
    """An HTTP source asks us to come back later."""

    code = "page_delayed"

    def __init__(self, message: str, wait_s: float) -> None:
        """To come back in `wait_s`."""
        super().__init__(message)
        self.wait_s = wait_s


class PlantFull(BadRequest):
    """More work waits than the plant may take on; come back later, or insist."""

    code = "plant_full"


class PlantAway(DarkroomError):
    """The plant does not answer, or not as it should; the same may work later."""

    code = "plant_away"
    retryable = True


class NewerSchema(DarkroomError):
    """A record was written by a newer Darkroom than this one; upgrade this host, or let another one do it."""

    code = "newer_schema"
    fault = "host"
    retryable = True
    retry_after_s = 30


class NotPlanned(DarkroomError):
    """The batch has no committed plan; look at the log of its `plan` task."""

    code = "not_planned"


class ItemError(DarkroomError):
    """One item can't be processed; its neighbours can. Base of everything a stage says of an item."""

    code = "item_error"
    fault = "item"
    tries: int = 0
    """Tries spent before it was given up."""


class InvalidItem(ItemError):
    """A field of the item is wrong; the message names it."""

    code = "invalid_item"


class InvalidImage(ItemError):
    """The picture can't be decoded safely: broken, truncated, too large or of a format not allowed."""

    code = "invalid_image"


class StageFailed(ItemError):
    """The model raised on this item; trying again may help."""

    code = "stage_failed"
    retryable = True


class PictureGone(DarkroomError):
    """A picture that an earlier stage made is not in the store any more; the next round makes it again."""

    code = "picture_gone"
    retryable = True


class ChunkStopped(DarkroomError):
    """The chunk was asked to stop and did, at an item boundary; another try goes on from here."""

    code = "chunk_stopped"
    fault = "plant"
    retryable = True
    state: ClassVar[Literal["stopped", "paused"]] = "stopped"
    """As progress tells it."""


class ChunkPaused(ChunkStopped):
    """The batch is paused: nobody goes on before it is resumed."""

    code = "chunk_paused"
    state = "paused"


class ChunkCancelled(ChunkStopped):
    """The batch is cancelled: nobody goes on."""

    code = "chunk_cancelled"
    retryable = False


class ServerBusy(DarkroomError):
    """The model server's queue is full (HTTP 429); wait and try again."""

    code = "server_busy"
    fault = "host"
    retryable = True
    retry_after_s = 30


class ServerGone(DarkroomError):
    """The model server died under the request, or is down; soon again, or elsewhere."""

    code = "server_gone"
    fault = "host"
    retryable = True


class ServerAway(ServerGone):
    """The model server did not take the request: it is starting, draining or down (HTTP 503)."""

    code = "server_away"


class ServerTimeout(DarkroomError):
    """The model server did not answer within the stage's deadline."""

    code = "server_timeout"
    fault = "host"
    retryable = True


class HostSuspect(DarkroomError):
    """Every item failed on this host: before they are blamed, another host shall try them."""

    code = "host_suspect"
    fault: ClassVar[Fault] = "host"
    retryable = True


class BatchSuspect(HostSuspect):
    """Every item failed on this host, and that may be their own fault: it is no strike against the host."""

    code = "batch_suspect"
    fault = "item"


class WrongWeights(DarkroomError):
    """A model file is missing, or is not the one that the stage table names."""

    code = "wrong_weights"
    fault = "host"


class StoreUnavailable(DarkroomError):
    """The object store refuses or does not answer; nothing is lost, the chunk goes on later."""

    code = "store_unavailable"
    fault = "plant"
    retryable = True


class StackError(DarkroomError):
    """A part of the embedded stack did not start; the message ends with the last lines of its log."""

    code = "stack_error"
