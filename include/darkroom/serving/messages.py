"""Requests and answers as frames: the two ends of `wire` in terms of stages."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from darkroom.errors import InvalidItem, ItemError
from darkroom.records import CustomId, Seed, Side, Verdict
from darkroom.serving import wire
from darkroom.stages.base import Output, Request

CANARY = wire.pack({"canary": True})
"""Has the server run its stage's own sample: the proof that it works, which an open port is not."""
WAKE = wire.pack({"wake": True})
"""Has the server look who is at its door; see `door`."""


class _Item(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    custom_id: CustomId
    prompt: Annotated[str, Field(max_length=4000)] | None = None
    seed: Seed = 0
    width: Side | None = None
    height: Side | None = None


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    item: _Item
    options: dict[str, Any] = {}


def encode_request(request: Request) -> bytes:
    """The frame of one request."""
    item = {name: getattr(request, name) for name in _Item.model_fields}
    return wire.pack({"item": item, "options": request.options}, request.image)


def decode_request(frame: bytes | bytearray) -> Request | None:
    """The request in a frame; None stands for a canary.

    Raises:
        ValueError: this is no frame.
        InvalidItem: a field is unknown, missing or of the wrong type; the message names it.
    """
    header, image = wire.unpack(frame)
    if header.get("canary") is True:
        return None
    try:
        known = _Header.model_validate(header)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        raise InvalidItem(f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}") from error
    return Request(**dict(known.item), image=image, options=known.options)


def encode_answer(answer: Output | ItemError) -> bytes:
    """The frame of one answer."""
    if isinstance(answer, ItemError):
        error = {"code": answer.code, "message": str(answer)}
        return wire.pack({"details": {}, "verdict": None, "error": error})
    verdict = dict(answer.verdict) if answer.verdict else None
    said = {"details": answer.details, "verdict": verdict, "error": None, "seconds": answer.seconds}
    return wire.pack(said, answer.image)


def decode_answer(frame: bytes) -> Output:
    """The output in a frame.

    Raises:
        ValueError: this is no frame, or no answer.
        ItemError: the error that the frame carries, of the class with its code.
    """
    header, image = wire.unpack(frame)
    if error := header.get("error"):
        raise item_error(error)
    verdict = header.get("verdict")
    return Output(
        image=image,
        verdict=None if verdict is None else Verdict.model_validate(verdict),
        details=header.get("details") or {},
        seconds=float(header.get("seconds") or 0),
    )


def encode_refusal(answers: list[tuple[str, ItemError]]) -> str:
    """The text of a 422: who asked for what can't be done, by `custom_id`, and why."""
    refused = {custom_id: {"code": error.code, "message": str(error)} for custom_id, error in answers}
    return json.dumps({"refused": refused}, ensure_ascii=False)


def decode_refusal(body: bytes, custom_id: str) -> ItemError | None:
    """What a 422 says of one item; None when it says nothing of it."""
    start = body.find(b"{")  # mosec puts the name of its error before the text
    if start < 0:
        return None
    try:
        refused = json.loads(body[start:])["refused"]
        return item_error(refused.get(custom_id) or refused[""])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def item_error(error: dict[str, Any]) -> ItemError:
    """The error of the class whose `code` is given; of a code that this version doesn't know, the base."""
    code, message = str(error.get("code")), str(error.get("message"))
    known = _subclasses(ItemError)
    if code in known:
        return known[code](message)
    return ItemError(f"{code}: {message}")


def _subclasses(base: type[ItemError]) -> dict[str, type[ItemError]]:
    found = {base.code: base}
    for subclass in base.__subclasses__():
        found |= _subclasses(subclass)
    return found
