"""The side door of a model server: what somebody waits for goes past the queue of bulk.

Mosec's queue is first in, first out, and several batches stand in it. What comes to the door, a unix socket
that takes the same frames, is run before the next batch that mosec hands over: it waits for at most the
batch that is being computed. Between two batches of the queue at most one of the door is run, so the queue
never starves.

Only mosec's own thread ever runs the model, as many can't bear a second one. It sleeps when the queue is
empty, so the door sends `WAKE` through the queue until everybody was let in.
"""

import logging
import socketserver
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from darkroom.serving.messages import WAKE
from darkroom.serving.wire import MAX_REQUEST_BYTES, PATH

DOOR_ENV = "DARKROOM_DOOR"
"""The path of the socket; without it a server has no door."""
_ADDRESS = "127.0.0.1"
_AGAIN_S = 0.02
"""A full queue refuses a wake; but then a batch of it comes soon, and lets in who waits."""

log = logging.getLogger(__name__)
_Answer = tuple[HTTPStatus, bytes]
_Waiting = tuple[bytes, Future[bytes]]


class Door:
    """Frames in, frames out; knows nothing of stages."""

    def __init__(self, path: Path, port: int, most: int, deadline_s: float) -> None:
        """Open it.

        Args:
            path: of the socket; what a dead server left there is replaced.
            port: of the server's queue.
            most: who comes when so many wait is told to come again (429).
            deadline_s: who was not answered for so long is told so (408).
        """
        self._port, self._most, self._deadline_s = port, most, deadline_s
        self._waiting: deque[_Waiting] = deque()
        self._knocked = threading.Event()
        path.unlink(missing_ok=True)
        listener = _Listener(str(path), self)
        for name, target in (("door", listener.serve_forever), ("door-wakes", self._rouse)):
            threading.Thread(target=target, daemon=True, name=name).start()

    def let_in(self, run: Callable[[list[bytes]], list[bytes]], most: int) -> None:
        """Answer those who wait with what `run` says to their frames, `most` of them, in one batch.

        Raises:
            BaseException: what `run` raises; those who were let in are told first.
        """
        batch: list[_Waiting] = []
        while len(batch) < most and (first := self._next()):
            if first[1].set_running_or_notify_cancel():
                batch.append(first)
        if not batch:
            return
        try:
            answers = run([frame for frame, _ in batch])
        except BaseException as error:
            for _, answer in batch:
                answer.set_exception(error)
            raise
        for (_, answer), told in zip(batch, answers, strict=True):
            answer.set_result(told)

    def ask(self, frame: bytes) -> _Answer:
        """Wait for the answer to a frame; an HTTP status says why there is none."""
        if len(self._waiting) >= self._most:
            return HTTPStatus.TOO_MANY_REQUESTS, b"many wait at the door"
        answer: Future[bytes] = Future()
        self._waiting.append((frame, answer))
        self._knocked.set()
        try:
            return HTTPStatus.OK, answer.result(self._deadline_s)
        except CancelledError:
            return HTTPStatus.SERVICE_UNAVAILABLE, b"the server is ending"
        except TimeoutError:
            answer.cancel()
            return HTTPStatus.REQUEST_TIMEOUT, b"not answered in time"
        except BaseException as error:  # noqa: BLE001 - it ended the batch, and was raised there
            ours = isinstance(error, Exception)  # mosec's time-out is none
            status = HTTPStatus.INTERNAL_SERVER_ERROR if ours else HTTPStatus.REQUEST_TIMEOUT
            return status, f"{type(error).__name__}: {error}".encode()

    def _rouse(self) -> None:
        """Wake the server as long as somebody waits; one wake at a time is in its queue."""
        while self._knocked.wait():
            self._knocked.clear()
            while self._waiting:
                status = self._wake()
                if status == HTTPStatus.SERVICE_UNAVAILABLE:  # who was let in is still answered
                    self._send_away()
                elif status != HTTPStatus.OK:
                    time.sleep(_AGAIN_S)

    def _wake(self) -> int:
        """Return when a batch with a wake in it was run; the status of that."""
        http = HTTPConnection(_ADDRESS, self._port, timeout=self._deadline_s)
        try:
            http.request("POST", PATH, WAKE)
            return http.getresponse().status
        except (OSError, HTTPException) as error:
            log.info("the queue does not answer: %s", error)
            return HTTPStatus.SERVICE_UNAVAILABLE
        finally:
            http.close()

    def _send_away(self) -> None:
        while first := self._next():
            first[1].cancel()

    def _next(self) -> "_Waiting | None":
        try:
            return self._waiting.popleft()
        except IndexError:  # looking first would not do: two threads take
            return None


class _Listener(socketserver.ThreadingUnixStreamServer):
    """Takes connections, a thread each."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, path: str, door: Door) -> None:
        self.door = door
        super().__init__(path, _Handler, bind_and_activate=False)
        self.server_bind()
        Path(path).chmod(0o600)  # before anybody can connect
        self.server_activate()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Somebody left before he was answered."""
        log.info("at the door", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """As much HTTP as our own client speaks."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: _Listener

    def do_POST(self) -> None:
        """One request."""
        size = int(self.headers.get("Content-Length", 0))
        status, body = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b""
        if size <= MAX_REQUEST_BYTES:
            status, body = self.server.door.ask(self.rfile.read(size))
        else:
            self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a line a request is too much."""
