"""How one sees that a part works: by using it, never by looking for its process or its port.

The probes are called again and again while a slow machine starts, so each is cheap when the answer is no.
"""

import json
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from darkroom.serving.status import ServerStatus, State, status_file
from darkroom.stack.home import Home
from darkroom.stack.ports import LOOPBACK, answers

_TIMEOUT_S = 5.0
_PING_S = 1.5
_FRESH_S = 1.0
_BEAT_S = 30.0
_STARTS = 2
"""A first start may have met a port that was not free yet."""

_http = build_opener(ProxyHandler({}))
"""No proxy for the loopback; and no TLS context, which costs more than all the rest of a probe."""


def airflow_health(api_url: str) -> dict[str, Any]:
    """What the api-server says of itself and of the others; empty when it does not answer."""
    try:
        with _http.open(f"{api_url}/api/v2/monitor/health", timeout=_TIMEOUT_S) as answer:
            body = json.load(answer)
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def airflow_answers(api_url: str) -> bool:
    """Whether the api-server answers and reaches the database."""
    return bool(airflow_health(api_url).get("metadatabase", {}).get("status") == "healthy")


def airflow_beats(api_url: str, part: str, started: float) -> bool:
    """Whether a part's heart beats, and has beaten since its process started.

    The second matters: the last beat of a process that died counts as healthy for 30 s more.
    """
    found = airflow_health(api_url).get(part, {})
    beat = found.get(f"latest_{part}_heartbeat")
    return found.get("status") == "healthy" and datetime.fromisoformat(beat).timestamp() > started


class WorkerPing:
    """Asks all Celery workers at once who is there; the answer serves every probe for a second."""

    def __init__(self, broker_url: str, workers: Sequence[str]) -> None:
        """Ask `workers`, by the names that Celery knows, over the broker; those of other machines are not."""
        self._broker_url, self._workers = broker_url, list(workers)
        self._lock = Lock()
        self._asked = 0.0
        self._there: set[str] = set()

    def answers(self, host: str) -> bool:
        """Whether the worker of that name answers."""
        with self._lock:
            where = urlsplit(self._broker_url)
            listens = answers(where.port or 6379, where.hostname or LOOPBACK)
            if time.monotonic() - self._asked > _FRESH_S and listens:
                self._there = self._ask()
                self._asked = time.monotonic()
            return host in self._there

    def _ask(self) -> set[str]:
        from celery import Celery  # noqa: PLC0415  (half a second)

        with Celery(broker=self._broker_url, set_as_current=False) as app:
            try:
                replies = app.control.ping(self._workers, timeout=_PING_S, limit=len(self._workers))
            except (OSError, *app.connection_for_read().connection_errors):
                return set()
        return {host for reply in replies for host in reply}


def beats(path: Path, started: float) -> bool:
    """Whether a process that touches a file at each round has done so lately, and since it started."""
    try:
        touched = path.stat().st_mtime
    except FileNotFoundError:
        return False
    return touched > max(started, time.time() - _BEAT_S)


def why_server_fails(home: Home, name: str) -> str:
    """Why a model server was ended, when it has never worked and its supervisor tries again; else nothing."""
    status = ServerStatus.read(status_file(home.path, name))
    if status is None or status.state is not State.WAITING or status.worked or status.starts < _STARTS:
        return ""
    return status.reason


def server_answers(home: Home, name: str, started: float) -> bool:
    """Whether the model server of a supervisor that started then answers its canaries, as of lately."""
    status = ServerStatus.read(status_file(home.path, name))
    if status is None or status.state not in (State.READY, State.FENCED):
        return False
    return status.updated > max(started, time.time() - _BEAT_S)
