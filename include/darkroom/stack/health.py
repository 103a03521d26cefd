"""How one sees that a part works: by using it, never by looking for its process or its port."""

from datetime import datetime
from threading import Lock
from typing import Any

import httpx

from darkroom.stack.layout import BROKER, Stack

_TIMEOUT_S = 5.0
_IMPORTING = Lock()
"""Celery replaces itself in `sys.modules`, so two threads must not import it at once."""


def airflow_health(stack: Stack) -> dict[str, Any]:
    """What the api-server says of itself and of the others; empty when it does not answer."""
    try:
        answer = httpx.get(f"{stack.api_url}/api/v2/monitor/health", timeout=_TIMEOUT_S, trust_env=False)
        body = answer.raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def airflow_answers(stack: Stack) -> bool:
    """Whether the api-server answers and reaches the database."""
    return bool(airflow_health(stack).get("metadatabase", {}).get("status") == "healthy")


def airflow_beats(stack: Stack, part: str, started: float) -> bool:
    """Whether a part's heart beats, and has beaten since its process started.

    The second matters: the last beat of a process that died counts as healthy for 30 s more.
    """
    found = airflow_health(stack).get(part, {})
    beat = found.get(f"latest_{part}_heartbeat")
    return found.get("status") == "healthy" and datetime.fromisoformat(beat).timestamp() > started


def worker_answers(stack: Stack, host: str) -> bool:
    """Whether a Celery worker answers a ping."""
    with _IMPORTING:  # half a second that other commands don't need
        from celery import Celery  # type: ignore[import-untyped]  # noqa: PLC0415

    with Celery(broker=stack.redis_url(BROKER), set_as_current=False) as app:
        try:
            return bool(app.control.inspect(destination=[host], timeout=2, limit=1).ping())
        except (OSError, app.connection_for_read().connection_errors):
            return False


def server_answers(url: str, deadline_s: float) -> bool:
    """Whether a model server answers a canary inference."""
    from darkroom.serving.client import StageClient  # noqa: PLC0415

    with StageClient(url, deadline_s) as client:
        return client.healthy(min(deadline_s, 20))
