"""Which of several schedulers or triggerers beat: what tells them apart is the host name of their jobs."""

import time
from datetime import datetime
from threading import Lock
from typing import Any

from darkroom.errors import DarkroomError
from darkroom.hostname import name_of
from darkroom.rest.api import AirflowApi
from darkroom.stack.credentials import ADMIN
from darkroom.stack.layout import Stack

_FRESH_S = 1.0


class Jobs:
    """Asks Airflow for all jobs that beat; the answer serves every probe for a second."""

    def __init__(self, stack: Stack) -> None:
        self._api = AirflowApi(stack.api_url, ADMIN, stack.credentials.admin_password)
        self._lock = Lock()
        self._asked = 0.0
        self._alive: list[dict[str, Any]] = []

    def beats(self, part: str, started: float) -> bool:
        """Whether the job of a part whose process started then beats."""
        with self._lock:
            if time.monotonic() - self._asked > _FRESH_S:
                self._alive = self._ask()
                self._asked = time.monotonic()
        return any(
            job["hostname"] == name_of(part)
            and datetime.fromisoformat(job["start_date"]).timestamp() >= started
            for job in self._alive
        )

    def _ask(self) -> list[dict[str, Any]]:
        try:
            told = self._api.call("GET", "/api/v2/jobs", params={"is_alive": True, "job_state": "running"})
        except DarkroomError:
            return []
        return list(told["jobs"])
