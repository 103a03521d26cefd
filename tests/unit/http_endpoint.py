"""A small real HTTP endpoint for tests: scripted answers, and a memory of what it was asked."""

import base64
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from io import BytesIO
from urllib.parse import parse_qsl, urlsplit

from PIL import Image
from tests.loopback import LoopbackServer, Quiet


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What to answer."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def as_json(data: object, status: int = 200, **headers: str) -> Answer:
    return Answer(json.dumps(data).encode(), status, {"Content-Type": "application/json", **headers})


def as_image(data: bytes, kind: str = "png") -> Answer:
    return Answer(data, 200, {"Content-Type": f"image/{kind}"})


def images(data: bytes, **fields: str) -> Answer:
    """The OpenAI Images shape."""
    return as_json({"created": 1, "data": [{"b64_json": base64.b64encode(data).decode(), **fields}]})


class Endpoint:
    """`answers` in turn, the last of them again and again; or a function of what was asked."""

    def __init__(self, *answers: Answer | Callable[[Asked], Answer]) -> None:
        self._answers = list(answers)
        self._lock = threading.Lock()
        self.asked: list[Asked] = []
        endpoint = self

        class Handler(Quiet, BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, parts.path, dict(parse_qsl(parts.query)), headers, body)
                answer = endpoint.answer(asked)
                with suppress(ConnectionError):  # who asked may have given up
                    self.send(answer)

            def send(self, answer: Answer) -> None:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def do_GET(self) -> None:
                self.do_POST()

        self._server = LoopbackServer(Handler)
        self.url = f"{self._server.address}/v1/images/generations"

    def answer(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        return answer(asked) if callable(answer) else answer

    @contextmanager
    def serving(self) -> Iterator["Endpoint"]:
        with self._server.at_work():
            yield self


def draw(asked: Asked) -> Answer:
    """A picture that depends on prompt and seed, as a model's would; refuses a word, a GET, an option."""
    if asked.method == "GET":
        return as_json({"detail": "Method Not Allowed"}, 405)
    wanted = asked.json
    if "forbidden" in wanted["prompt"]:
        return as_json({"error": {"message": "Your prompt is against our rules.", "code": "policy"}}, 400)
    colour = hashlib.sha256(f"{wanted['prompt']} {wanted['seed']}".encode()).digest()[:3]
    width, height = (int(side) for side in wanted.get("size", "32x32").split("x"))
    buffer = BytesIO()
    Image.new("RGB", (width, height), tuple(colour)).save(buffer, "PNG")
    return images(buffer.getvalue())
