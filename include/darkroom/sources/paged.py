"""One page of an HTTP API: asked for once, its answer bounded in bytes and in time, read as JSON."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from darkroom.delivery.hosts import allowed_url, speaking
from darkroom.errors import HostNotAllowed, HostUnknown, PageAway, PageDelayed, PageRefused
from darkroom.paging import Paged

CONNECT_S = 5.0
WAIT_S = 15.0
"""How long to wait where an API says "later", and not when."""
_AWAY = {408, 425, 500, 502, 503, 504}


def ask(api: Paged, url: str, headers: Mapping[str, str]) -> Any:
    """The JSON value at `url`, once. No message holds what follows `?`, nor a header.

    Raises:
        PageRefused: it can't be used: not allowed, not there, redirected, too large, no JSON.
        PageAway: it did not answer, or not in time.
        PageDelayed: it asks us to come later.
    """
    until = time.monotonic() + api.page_timeout_s
    timeout = httpx.Timeout(api.page_timeout_s, connect=min(CONNECT_S, api.page_timeout_s))
    # Packed, a small answer could unpack to any size.
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
    data = bytearray()
    try:
        where = allowed_url(url, api.hosts)
        with speaking("GET", where, api.hosts, headers, timeout) as answer:
            _must_be_good(answer)
            for piece in answer.iter_raw():
                data += piece
                if len(data) > api.max_page_bytes:
                    raise PageRefused(f"larger than max_page_bytes {api.max_page_bytes:,}")
                if time.monotonic() > until:
                    raise PageAway(f"not whole after {api.page_timeout_s:g} s")
    except HostNotAllowed as error:
        raise PageRefused(str(error)) from error
    except HostUnknown as error:
        raise PageAway(str(error)) from error
    except httpx.HTTPError as error:
        raise PageAway(type(error).__name__) from error
    try:
        return json.loads(data, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise PageRefused(f"not JSON: {type(error).__name__}") from error


def wait_s(told: str | None, now: datetime) -> float | None:
    """The seconds that a `Retry-After` asks for, as seconds or as a date; None: it says nothing.

    Source: RFC 9110, section 10.2.3.
    """
    if told is None:
        return None
    if told.strip().isdecimal():
        return float(told)
    try:
        when = parsedate_to_datetime(told)
    except ValueError:
        return None
    return max(0.0, ((when if when.tzinfo else when.replace(tzinfo=UTC)) - now).total_seconds())


def _must_be_good(answer: httpx.Response) -> None:
    status, packed = answer.status_code, answer.headers.get("Content-Encoding", "identity")
    later_s = wait_s(answer.headers.get("Retry-After"), datetime.now(UTC))
    if status == httpx.codes.TOO_MANY_REQUESTS or (status in _AWAY and later_s is not None):
        raise PageDelayed(f"answers {status}", WAIT_S if later_s is None else later_s)
    if status in _AWAY:
        raise PageAway(f"answers {status}")
    if answer.is_redirect:
        raise PageRefused(f"answers {status}, a redirect; those are not followed")
    if status != httpx.codes.OK:
        raise PageRefused(f"answers {status}")
    if packed != "identity":
        raise PageRefused(f"is packed ({packed[:20]!r}), which nobody asked for")


def _no_number(text: str) -> Any:
    raise ValueError(text)
