"""A real HTTP server that is called back, and answers as it is told."""

import socket
import struct
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler

from tests.loopback import LoopbackServer, Quiet


class Receiver(LoopbackServer):
    """Answers as it is told, first answer first, then 204; keeps the headers, bodies and paths it got."""

    def __init__(self, listens_at: str = "127.0.0.1") -> None:
        super().__init__(_Handler, listens_at)
        self.answers = []
        self.got = []
        self.paths = []

    @property
    def url(self):
        return f"{self.address}/hook?token=hush"


class _Handler(Quiet, BaseHTTPRequestHandler):
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
                self.send_header("Location", f"{self.server.address}/elsewhere")
            self.end_headers()


def receiving(listens_at: str = "127.0.0.1") -> AbstractContextManager[Receiver]:
    """A receiver at work."""
    return Receiver(listens_at).at_work()
