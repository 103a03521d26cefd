"""One event to one URL: signed, posted, judged by the status of the answer alone.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
from standardwebhooks import Webhook

from darkroom.delivery.hosts import allowed_url, speaking
from darkroom.errors import BadRequest, CallbackGone, NotDelivered

CONNECT_S, ANSWER_S = 5.0, 10.0
_PREFIX, _SECRET_BYTES = "whsec_", range(24, 65)


def message_id(*parts: str) -> str:
    """The id by which a receiver knows an event again: the same on every try."""
    return f"msg_{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:32]}"


def check_secrets(secrets: str) -> None:
    """Refuse what is no secret before anything depends on it: a word, say, that somebody made up.

    Args:
        secrets: one, or two with a space between them while one replaces the other.

    Raises:
        BadRequest: one of them is none. The message does not show it.
    """
    for secret in secrets.split() or [""]:
        try:
            size = len(base64.b64decode(secret.removeprefix(_PREFIX), validate=True))
        except (binascii.Error, ValueError):
            size = 0
        if not secret.startswith(_PREFIX) or size not in _SECRET_BYTES:
            raise BadRequest(f"a secret is {_PREFIX} and 24 to 64 random bytes in base64")


def body_of(event: Mapping[str, Any]) -> bytes:
    """An event as it is signed and sent: the same bytes on every try."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def shown(url: httpx.URL) -> str:
    """A URL for logs: what follows `?` may be a secret of the receiver's."""
    return str(url.copy_with(query=None))


def deliver(url: str, msg_id: str, event: Mapping[str, Any], secrets: str, allowed: Sequence[str]) -> int:
    """Post an event, signed with each of the secrets; the status of the answer, which is 2xx.

    The body of the answer is not read, a redirect not followed; see `speaking`.

    Raises:
        HostNotAllowed: the URL, or an address of its host, is not allowed.
        CallbackGone: the receiver wants no more (410).
        NotDelivered: it did not take it; the same again later.
    """
    where = allowed_url(url, allowed)
    now, body = datetime.now(UTC), body_of(event)
    signatures = [Webhook(secret).sign(msg_id, now, body.decode()) for secret in secrets.split()]
    headers = {
        "Content-Type": "application/json",
        "webhook-id": msg_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    timeout = httpx.Timeout(ANSWER_S, connect=CONNECT_S)
    try:
        with speaking("POST", where, allowed, headers, timeout, content=body) as answer:
            status = answer.status_code
    except httpx.HTTPError as error:
        raise NotDelivered(f"{shown(where)}: {type(error).__name__}: {error}") from error
    if status == httpx.codes.GONE:
        raise CallbackGone(f"{shown(where)} answers 410 Gone: it wants no more")
    if not httpx.codes.is_success(status):
        raise NotDelivered(f"{shown(where)} answers {status}")
    return status
