"""A real HTTP server on loopback, at work for as long as a test needs it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Quiet:
    """For a handler that prints nothing of what it is asked."""

    def log_message(self, *_: object) -> None:
        pass


class LoopbackServer(ThreadingHTTPServer):
    """A thread for each connection; who is kept waiting for `let_go` is let go at the end."""

    def __init__(self, handler: type[BaseHTTPRequestHandler], listens_at: str = "127.0.0.1") -> None:
        super().__init__((listens_at, 0), handler)
        self.let_go = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @contextmanager
    def at_work(self) -> Iterator[Self]:
        with self:
            threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
            try:
                yield self
            finally:
                self.let_go.set()
                self.shutdown()


@contextmanager
def served(app: Any, deadline_s: float = 30) -> Iterator[str]:
    """The address of an ASGI app on a server of its own."""
    import uvicorn

    from tests.servers import free_port

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until = time.monotonic() + deadline_s
        while not server.started:
            assert thread.is_alive() and time.monotonic() < until, "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
