"""What an HTTP endpoint answers, read with care: a picture, a verdict, or why not."""

import base64
import binascii
import json
import math
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from io import BytesIO

import httpx
from pydantic import ValidationError

from darkroom.errors import InvalidImage, StageFailed
from darkroom.records import Verdict
from darkroom.stages.base import Output
from darkroom.stages.decode import decode
from darkroom.stages.options import explain

MAX_ANSWER_BYTES = 64 << 20
MAX_MESSAGE = 300
"""Characters of an endpoint's own words that an error carries on."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back with a 2xx."""

    kind: str
    """Its content type, without parameters."""
    body: bytes
    request_id: str


def read_body(response: httpx.Response, until: float) -> bytes:
    """The body, if it is not too large and does not take too long.

    Raises:
        StageFailed: it is, or does.
    """
    body = bytearray()
    for piece in response.iter_bytes():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise StageFailed(f"the endpoint's answer is larger than {MAX_ANSWER_BYTES:,} bytes")
        if time.monotonic() > until:
            raise StageFailed("the endpoint's answer takes too long")
    return bytes(body)


def understand(answer: Answer) -> Output:
    """A picture or a verdict.

    Raises:
        StageFailed: it is neither.
    """
    details = {"request_id": answer.request_id} if answer.request_id else {}
    if answer.kind.startswith("image/"):
        return Output(image=_as_png(answer.body), details=details)
    try:
        data = json.loads(answer.body)
    except ValueError as error:
        raise StageFailed(
            f"the endpoint answers with {answer.kind or 'no type'}, no picture, no JSON"
        ) from error
    if not isinstance(data, dict):
        raise StageFailed("the endpoint answers with JSON that is no object")
    if "accepted" in data:
        known = {name: data[name] for name in ("accepted", "reasons", "checks") if name in data}
        try:
            return Output(verdict=Verdict.model_validate(known), details=details)
        except ValidationError as error:
            raise StageFailed(f"the endpoint's verdict is wrong: {explain(error, 'verdict')}") from error
    try:
        first = data["data"][0]
        image = base64.b64decode(first["b64_json"], validate=True)
    except (KeyError, IndexError, TypeError, binascii.Error) as error:
        raise StageFailed("the endpoint's JSON has neither data[0].b64_json nor accepted") from error
    if revised := first.get("revised_prompt"):
        details["revised_prompt"] = str(revised)
    return Output(image=_as_png(image), details=details)


def _as_png(data: bytes) -> bytes:
    """The picture as a PNG: one that is a sound PNG stays as it is.

    Raises:
        StageFailed: it can't be decoded.
    """
    try:
        picture = decode(data)
    except InvalidImage as error:
        raise StageFailed(f"the endpoint's picture is broken: {error}") from error
    if picture.format == "PNG":
        return data
    buffer = BytesIO()
    picture.image.save(buffer, "PNG", compress_level=2)
    return buffer.getvalue()


def words_of(body: bytes) -> str:
    """What an error's body says: OpenAI's or FastAPI's message, or the start of the text."""
    text = body[:4096].decode(errors="replace")
    try:
        data = json.loads(body)
    except ValueError:
        data = None
    if isinstance(data, dict):
        inner = data.get("error", data.get("detail", data.get("message", text)))
        text = str(inner.get("message", inner)) if isinstance(inner, dict) else str(inner)
    return " ".join(text.split())[:MAX_MESSAGE]


def retry_after_s(header: str) -> float | None:
    """Seconds of a `Retry-After`, which is a number or a date; None when it is neither."""
    try:
        seconds = float(header)
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0)
    except ValueError:
        return None
