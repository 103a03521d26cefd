"""A real HTTP API with pages, numbered or each leading to the next, that misbehaves as it is told."""

import json
import threading
import time
from collections import Counter
from contextlib import AbstractContextManager, suppress
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qsl, urlsplit

from tests.loopback import LoopbackServer, Quiet

RED = "a large red circle on a white background"


class Api(LoopbackServer):
    """`/v1/numbered?page=1` has `data` and `meta.pages`; `/v1/chain?cursor=c2` has `data` and `next`."""

    def __init__(self) -> None:
        super().__init__(_Handler)
        self.pages: list[list[dict]] = []
        """What is on each page; numbered from 1."""
        self.count = None
        """What `meta.pages` says; by default the truth. Or by page."""
        self.answers: dict[int, list] = {}
        """What a page does instead, first answer first: a status, (status, headers), bytes, a name."""
        self.asked: Counter[int] = Counter()
        self.headers: list[dict] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.company = 0
        """A page after the first waits until so many have been asked for at once; some seconds at most."""

    @property
    def root(self):
        return f"{self.address}/v1"

    def table(self, **more):
        """The table of this API: `[pages.test]`."""
        return {"root": self.root, "items": "data", "fields": {"custom_id": "id", "prompt": "text"}, **more}

    def numbered(self, **more):
        return self.table(page_param="page", count="meta.pages", **more)

    def chain(self, **more):
        return self.table(next="next", **more)

    @property
    def tables(self):
        """Both kinds, each under a root of its own."""
        return {
            "numbered": {**self.numbered(connection="paged_api"), "root": f"{self.root}/numbered"},
            "chain": {**self.chain(max_missing_ratio=0.5), "root": f"{self.root}/chain"},
        }

    def fill(self, *sizes):
        """Pages of so many items: `p1-1`, `p1-2`, …"""
        self.pages = [
            [{"id": f"p{page}-{n}", "text": RED} for n in range(1, size + 1)]
            for page, size in enumerate(sizes, start=1)
        ]


class _Handler(Quiet, BaseHTTPRequestHandler):
    server: Api
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        api = self.server
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        page = int(query.get("page") or query.get("cursor", "c1")[1:])
        with api.lock:
            api.asked[page] += 1
            api.headers.append(dict(self.headers))
            api.at_once += 1
            api.most_at_once = max(api.most_at_once, api.at_once)
        try:
            until = time.monotonic() + 8
            while page > 1 and api.most_at_once < api.company and time.monotonic() < until:
                time.sleep(0.05)
            self._answer(page, parts.path)
        finally:
            with api.lock:
                api.at_once -= 1

    def _answer(self, page, path):
        api = self.server
        told = api.answers.get(page) or []
        answer = told.pop(0) if told else None
        if answer == "hang":
            api.let_go.wait(30)
        elif answer == "drip":
            self._begin(200, {"Content-Length": "100000"})
            while not api.let_go.wait(0.05):
                try:
                    self.wfile.write(b" ")
                except OSError:
                    return
        elif isinstance(answer, bytes):
            self._send(200, {}, answer)
        elif isinstance(answer, int):
            self._send(answer, {"Location": f"{api.root}/elsewhere"} if 300 <= answer < 400 else {}, b"{}")
        elif isinstance(answer, tuple):
            self._send(*answer, b"{}")
        else:
            items = api.pages[page - 1] if page <= len(api.pages) else []
            count = api.count.get(page, len(api.pages)) if isinstance(api.count, dict) else api.count
            body = {"data": items, "meta": {"pages": len(api.pages) if count is None else count}}
            if page < len(api.pages):
                body["next"] = f"{path}?cursor=c{page + 1}"
            if isinstance(answer, dict):
                body |= answer
            self._send(200, {}, json.dumps(body).encode())

    def _begin(self, status, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _send(self, status, headers, body):
        self._begin(status, {"Content-Type": "application/json", "Content-Length": len(body), **headers})
        with suppress(OSError):
            self.wfile.write(body)


def api() -> AbstractContextManager[Api]:
    """The API at work."""
    return Api().at_work()
