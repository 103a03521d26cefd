"""How often and how patiently one item is tried against its server.

Two clocks, kept apart: an item has three tries, spent only on what may be its own fault; a server has a
time of grace, spent while it is full, restarting or hung. An item never pays for a broken host.
"""

import fcntl
import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from darkroom.errors import ItemError, ServerAway, ServerBusy, ServerGone, ServerTimeout
from darkroom.serving.client import StageClient
from darkroom.stages.base import Output, Request

log = logging.getLogger(__name__)
MAX_TRIES = 3


class KilledItsServer(ItemError):
    """Its server died under this item each time it was tried alone."""

    code = "killed_its_server"


class HungItsServer(KilledItsServer):
    """Its server did not answer in time each time it was tried alone: by its fault, or a crawling host's."""

    code = "hung_its_server"


class Expired(ItemError):
    """Its `expires_at` has passed: nobody waits for it any more."""

    code = "expired"


def refuse_expired(expires_at: datetime | None) -> None:
    """Looked at before each request, for an item may wait long for its server.

    Raises:
        Expired: the time has passed.
    """
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise Expired(f"expires_at {expires_at.isoformat()} has passed")


class Attempts:
    """The tries of a lane's items against the lane's server."""

    def __init__(self, client: StageClient, grace_s: float, alone_lock: Path | None = None) -> None:
        self._client = client
        self._grace_s = grace_s
        self._alone_lock = alone_lock

    def run(
        self, request: Request, alone: bool, expires_at: datetime | None = None
    ) -> tuple[int, Output] | None:
        """Tries spent and the output; None when the server died and `alone` is false.

        Raises:
            ItemError: the item failed for good; its attribute `tries` says how many were spent.
            ServerGone, ServerTimeout: the server did not come back within its grace.
        """
        if not alone:
            return self._run(request, alone, expires_at)
        with self._alone_on_the_server():
            return self._run(request, alone, expires_at)

    def _run(self, request: Request, alone: bool, expires_at: datetime | None) -> tuple[int, Output] | None:
        tries = 1 if alone else 0  # who is tried alone was in a batch when the server died
        while True:
            try:
                return tries + 1, self._patiently(request, expires_at)
            except Expired as error:
                raise _spent(error, tries) from error
            except ItemError as error:
                tries += 1
                if not error.retryable or tries >= MAX_TRIES:
                    raise _spent(error, tries) from error
                log.warning("%s: try %d failed: %s", request.custom_id, tries, error)
                time.sleep(_backoff_s(tries))
            except (ServerGone, ServerTimeout) as error:
                tries += 1
                log.warning("%s: %s; waiting for the server", request.custom_id, error)
                self._wait_for_server()
                if not alone:
                    return None
                if tries >= MAX_TRIES:
                    kind = HungItsServer if isinstance(error, ServerTimeout) else KilledItsServer
                    raise _spent(kind(f"{tries} times: {error}"), tries) from error

    @contextmanager
    def _alone_on_the_server(self) -> Iterator[None]:
        """Two lanes feed a server: while one tries an item alone, the other's suspects wait."""
        if self._alone_lock is None:
            yield
            return
        self._alone_lock.parent.mkdir(parents=True, exist_ok=True)
        with self._alone_lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # ends with the process, however it ends
            yield

    def _wait_for_server(self) -> None:
        try:
            self._client.wait_until_healthy(self._grace_s)
        except ItemError as error:  # on its own sample: that is no item's fault
            raise ServerGone(f"the server fails its canary: {error}") from error

    def _patiently(self, request: Request, expires_at: datetime | None) -> Output:
        """One answer; a full queue, and a server that is away, are waited out within the grace.

        Neither costs a try: the server never saw the item.
        """
        until = time.monotonic() + self._grace_s
        waits = 0
        while True:
            refuse_expired(expires_at)
            try:
                return self._client.run(request)
            except ServerBusy:
                waits += 1
                if time.monotonic() > until:
                    raise
                time.sleep(_backoff_s(waits))
            except ServerAway as error:
                if time.monotonic() > until:
                    raise
                log.info("%s: %s; waiting for the server", request.custom_id, error)
                self._wait_for_server()


def _spent(error: ItemError, tries: int) -> ItemError:
    error.tries = tries
    return error


def _backoff_s(tries: int) -> float:
    """Exponential with full jitter, 5 s at most.

    Source: https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """
    return random.uniform(0.05, min(5.0, 0.2 * 2**tries))  # noqa: S311 - jitter, not a secret
