"""The client of one model server: a request in, an output or a Darkroom error out."""

import ssl
import time
from types import TracebackType
from typing import Self

import httpx

from darkroom.errors import (
    DarkroomError,
    InvalidItem,
    ServerAway,
    ServerBusy,
    ServerGone,
    ServerTimeout,
    StageFailed,
)
from darkroom.serving.messages import CANARY, decode_answer, decode_refusal, encode_request
from darkroom.serving.wire import MAX_REQUEST_BYTES, PATH
from darkroom.stages.base import Output, Request

UNIX = "unix://"
"""How the address of a server's door begins, before the path of its socket."""
_POLL_S = 0.1
_ERRORS: dict[int, type[DarkroomError]] = {
    httpx.codes.BAD_REQUEST: InvalidItem,
    httpx.codes.REQUEST_TIMEOUT: ServerTimeout,
    httpx.codes.UNPROCESSABLE_ENTITY: InvalidItem,
    httpx.codes.TOO_MANY_REQUESTS: ServerBusy,
    httpx.codes.INTERNAL_SERVER_ERROR: StageFailed,
    httpx.codes.SERVICE_UNAVAILABLE: ServerAway,
}
"""What a status means; of any other, something else sits on the port."""


class StageClient:
    """One item a request over kept connections; safe to share between threads."""

    def __init__(self, url: str, deadline_s: float) -> None:
        """Connect lazily to the server at `url`: `http://127.0.0.1:8101`, or its door at `unix:///path`.

        Args:
            url: base URL of the server.
            deadline_s: an answer that takes longer means that the server hangs.
        """
        self.url = url
        self.deadline_s = deadline_s
        # No limit on connections: a lane's threads bound them, and waiting for one would look like a
        # hanging server. No environment: a proxy must not catch the loopback.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=30)
        socket = url.removeprefix(UNIX) if url.startswith(UNIX) else None
        # Never TLS: reading the certificates of all authorities is much of what a hop costs.
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._http = httpx.Client(
            base_url="http://door" if socket else url,
            timeout=deadline_s,
            transport=httpx.HTTPTransport(verify=nobody, uds=socket, limits=limits, trust_env=False),
            trust_env=False,
        )

    def run(self, request: Request) -> Output:
        """The stage's output for `request`.

        Raises:
            ItemError: what the stage said of this item, or that its request can't be read.
            ServerBusy: its queue is full (429).
            ServerAway: it is down, starting or draining, and never saw the request.
            ServerGone: it died under the request, or something else sits on its port.
            ServerTimeout: no answer within the deadline.
        """
        return self._send(encode_request(request), self.deadline_s, request.custom_id)

    def healthy(self, deadline_s: float | None = None) -> bool:
        """Whether the server answers a real canary inference within `deadline_s`.

        A full queue is asked again until the deadline: it may be that of a busy server or of a hanging one.
        """
        try:
            self.canary(self.deadline_s if deadline_s is None else deadline_s)
        except DarkroomError:
            return False
        return True

    def canary(self, deadline_s: float) -> None:
        """Have the server run its stage's sample; a full queue is asked again until the deadline.

        Raises:
            ServerGone, ServerBusy, ServerTimeout: no answer within `deadline_s`.
            ItemError: the stage fails on its own sample.
        """
        until = time.monotonic() + deadline_s
        while True:
            try:
                self._send(CANARY, max(until - time.monotonic(), _POLL_S))
                return
            except ServerBusy:
                if time.monotonic() + _POLL_S >= until:
                    raise
                time.sleep(_POLL_S)

    def wait_until_healthy(self, deadline_s: float) -> None:
        """Return as soon as the server answers a canary.

        Raises:
            ServerGone, ServerBusy, ServerTimeout: what it was like when `deadline_s` had passed.
            ItemError: the stage fails on its own sample; waiting would not cure it.
        """
        until = time.monotonic() + deadline_s
        while True:
            try:
                return self.canary(until - time.monotonic())
            except ServerGone:
                if time.monotonic() + _POLL_S >= until:
                    raise
                time.sleep(_POLL_S)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, frame: bytes, timeout_s: float, custom_id: str = "") -> Output:
        try:
            response = self._http.post(PATH, content=frame, timeout=timeout_s)
        except httpx.ConnectError as error:
            raise ServerAway(f"{self.url}: {error}") from error
        except httpx.TimeoutException as error:
            raise ServerTimeout(f"{self.url} did not answer within {timeout_s:g} s") from error
        except httpx.TransportError as error:
            raise ServerGone(f"{self.url}: {type(error).__name__}: {error}") from error
        if response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            size_mb, most_mb = len(frame) / 2**20, MAX_REQUEST_BYTES / 2**20
            raise InvalidItem(
                f"image: the request has {size_mb:.1f} MB, a server takes at most {most_mb:.0f} MB"
            )
        if response.status_code != httpx.codes.OK:
            raise self._explain(response, custom_id)
        try:
            return decode_answer(response.content)
        except ValueError as error:
            raise ServerGone(f"{self.url} answers, but not as a model server: {error}") from error

    def _explain(self, response: httpx.Response, custom_id: str) -> DarkroomError:
        if refused := decode_refusal(response.content, custom_id):
            return refused
        what = f"{self.url}: HTTP {response.status_code} {response.text[:300].strip()}"
        return _ERRORS.get(response.status_code, ServerGone)(what)
