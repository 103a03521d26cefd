"""An HTTP API with pages, to try docs/how-to/paged-sources.md with.

`python examples/paged_api.py [TOKEN]`

`/v1/prompts?page=1` numbers its pages; `/v1/feed` says with each page where the next one is.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

LINES = Path(__file__).with_name("prompts.jsonl").read_text().splitlines()
PROMPTS = [{"id": row["custom_id"], "text": row["prompt"]} for row in map(json.loads, LINES)]
SIZE, PAGES = 10, -(-len(PROMPTS) // 10)
TOKEN = sys.argv[1] if len(sys.argv) > 1 else None


class Handler(BaseHTTPRequestHandler):
    """Ten prompts a page; the second page of each kind is not ready the first time it is asked for."""

    told_to_wait: set[str] = set()  # noqa: RUF012 - shared on purpose

    def do_GET(self) -> None:
        """A page."""
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        page = int((query.get("page") or query.get("after") or ["1"])[0])
        if TOKEN and self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self._send(401, {})
        if parts.path not in ("/v1/prompts", "/v1/feed"):
            return self._send(404, {})
        if page == 2 and parts.path not in self.told_to_wait:  # noqa: PLR2004
            self.told_to_wait.add(parts.path)
            return self._send(429, {}, {"Retry-After": "3"})
        body = {"data": PROMPTS[(page - 1) * SIZE : page * SIZE], "pages": PAGES}
        if parts.path == "/v1/feed":
            time.sleep(1)
            body["next"] = f"/v1/feed?after={page + 1}" if page < PAGES else None
        return self._send(200, body)

    def _send(self, status: int, body: dict, headers: dict | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


if __name__ == "__main__":
    print("http://127.0.0.1:8765/v1/prompts and /v1/feed")
    ThreadingHTTPServer(("127.0.0.1", 8765), Handler).serve_forever()
