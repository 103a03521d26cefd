"""The logs of our own processes: lines for people, or JSON objects with the keys that Airflow's have.

Only Python's own library: a model server may run from an environment without Airflow's.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Final

from darkroom.settings import settings

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s %(message)s"


class JsonLines(logging.Formatter):
    """One JSON object a line: `timestamp`, `level`, `event`, `logger`, and the process's own fields."""

    def __init__(self, **fields: str) -> None:
        super().__init__()
        self._fields = {name: value for name, value in fields.items() if value}

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told: dict[str, object] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            **self._fields,
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def begin(**fields: str) -> None:
    """Log to the standard error, as `log_format` says.

    Args:
        fields: what each line of this process shall say in JSON, such as its `host`.
    """
    handler = logging.StreamHandler()
    as_json = settings().log_format == "json"
    handler.setFormatter(JsonLines(**fields) if as_json else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("httpx").setLevel(logging.WARNING)
