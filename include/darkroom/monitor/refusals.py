"""What routes answer instead of what was asked for, as their schema tells it."""

from typing import Any, Final

_BECAUSE: Final = {
    400: "It can't be done as it stands.",
    401: "Nobody is logged in.",
    403: "This user may not.",
    404: "There is no such thing.",
    429: "More work waits than the plant takes on.",
    503: "Redis or the store does not answer.",
}
_WHY: Final = {
    "type": "object",
    "properties": {"detail": {"type": "string", "description": "Why not, for people."}},
    "required": ["detail"],
}
_CONTENT: Final = {"application/json": {"schema": _WHY}, "text/html": {}}
_TO_THE_LOGIN: Final = {303: {"description": "To the login: nobody is logged in, and a page was asked for."}}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Of a route or several, beside those of all routes; JSON, or a page to a browser."""
    return {status: {"description": _BECAUSE[status], "content": _CONTENT} for status in statuses}


OF_ALL: Final = _TO_THE_LOGIN | refusals(401, 403)
"""Of every route."""
