"""A real HTTP server that is called back, and answers as it is told."""

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Receiver(ThreadingHTTPServer):
    """Answers as it is told, first answer first, then 204; keeps the headers, bodies and paths it got."""

    daemon_threads = True

    def __init__(self, address: str = "127.0.0.1") -> None:
        super().__init__((address, 0), _Handler)
        self.answers = []
        self.got = []
        self.paths = []
        self.let_go = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook?token=hush"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((dict(self.headers), body))
        self.server.paths.append(self.path)
        answer = self.server.answers.pop(0) if self.server.answers else 204
        if answer == "hang":
            self.server.let_go.wait(30)
        elif answer == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif answer == "endless":
            self.send_response(200)
            self.end_headers()
            while not self.server.let_go.is_set():
                try:
                    self.wfile.write(b"x" * 65536)
                except OSError:
                    return
        else:
            self.send_response(answer)
            if answer in (301, 302, 307, 308):
                self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere")
            self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def receiving(address: str = "127.0.0.1") -> Iterator[Receiver]:
    """A receiver at work; whatever it keeps waiting is let go at the end."""
    with Receiver(address) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server
        finally:
            server.let_go.set()
            server.shutdown()
