"""Options that are JSON on the command line."""

import json
from typing import Any

from darkroom.errors import BadRequest


def json_object(text: str) -> dict[str, Any]:
    """The object that `--options` gives.

    Raises:
        BadRequest: it is none.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise BadRequest(f"--options is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRequest('--options must be a JSON object such as \'{"generate": {"steps": 8}}\'')
    return value
