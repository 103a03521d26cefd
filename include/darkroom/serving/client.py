"""The client of one model server: a request in, an output or a Darkroom error out."""

import time
from types import TracebackType
from typing import Self

import httpx

from darkroom.errors import DarkroomError, InvalidItem, ServerBusy, ServerGone, ServerTimeout, StageFailed
from darkroom.serving.messages import CANARY, decode_answer, encode_request
from darkroom.stages.base import Output, Request

PATH = "/inference"
_POLL_S = 0.1


class StageClient:
    """One item a request over kept connections; safe to share between threads."""

    def __init__(self, url: str, deadline_s: float) -> None:
        """Connect lazily to the server at `url`, such as `http://127.0.0.1:8101`.

        Args:
            url: base URL of the server.
            deadline_s: an answer that takes longer means that the server hangs.
        """
        self.url = url
        self.deadline_s = deadline_s
        # No limit on connections: a lane's threads bound them, and waiting for one would look like a
        # hanging server. No environment: a proxy must not catch the loopback.
        self._http = httpx.Client(
            base_url=url,
            timeout=deadline_s,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=30),
            trust_env=False,
        )

    def run(self, request: Request) -> Output:
        """The stage's output for `request`.

        Raises:
            ItemError: what the stage said of this item, or that its request can't be read.
            ServerBusy: its queue is full (429).
            ServerGone: it is down, restarting, draining, or something else sits on its port.
            ServerTimeout: no answer within the deadline.
        """
        return self._send(encode_request(request), self.deadline_s)

    def healthy(self, deadline_s: float | None = None) -> bool:
        """Whether the server answers a real canary inference within `deadline_s`.

        A full queue is asked again until the deadline: it may be that of a busy server or of a hanging one.
        """
        try:
            self._canary(time.monotonic() + (self.deadline_s if deadline_s is None else deadline_s))
        except DarkroomError:
            return False
        return True

    def wait_until_healthy(self, deadline_s: float) -> None:
        """Return as soon as the server answers a canary.

        Raises:
            ServerGone, ServerBusy, ServerTimeout: what it was like when `deadline_s` had passed.
            ItemError: the stage fails on its own sample; waiting would not cure it.
        """
        until = time.monotonic() + deadline_s
        while True:
            try:
                return self._canary(until)
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

    def _canary(self, until: float) -> None:
        while True:
            try:
                self._send(CANARY, max(until - time.monotonic(), _POLL_S))
                return
            except ServerBusy:
                if time.monotonic() + _POLL_S >= until:
                    raise
                time.sleep(_POLL_S)

    def _send(self, frame: bytes, timeout_s: float) -> Output:
        try:
            response = self._http.post(PATH, content=frame, timeout=timeout_s)
        except httpx.TimeoutException as error:
            raise ServerTimeout(f"{self.url} did not answer within {timeout_s:g} s") from error
        except httpx.TransportError as error:
            raise ServerGone(f"{self.url}: {type(error).__name__}: {error}") from error
        if response.status_code != httpx.codes.OK:
            raise self._explain(response)
        try:
            return decode_answer(response.content)
        except ValueError as error:
            raise ServerGone(f"{self.url} answers, but not as a model server: {error}") from error

    def _explain(self, response: httpx.Response) -> DarkroomError:
        what = f"{self.url}: HTTP {response.status_code} {response.text[:300].strip()}"
        match response.status_code:
            case httpx.codes.TOO_MANY_REQUESTS:
                return ServerBusy(what)
            case httpx.codes.REQUEST_TIMEOUT:
                return ServerTimeout(what)
            case (
                httpx.codes.BAD_REQUEST
                | httpx.codes.UNPROCESSABLE_ENTITY
                | httpx.codes.REQUEST_ENTITY_TOO_LARGE
            ):
                return InvalidItem(what)
            case httpx.codes.INTERNAL_SERVER_ERROR:
                return StageFailed(what)
            case _:
                return ServerGone(what)
