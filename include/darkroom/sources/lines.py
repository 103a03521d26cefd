"""What a source yields: items, and rejects for what is none. The checks are the same for all kinds."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from darkroom.errors import InvalidItem, NewerSchema, SourceNotAllowed
from darkroom.flows import Flow
from darkroom.inputs import allowed, is_remote, local_path, remote_allowed
from darkroom.records import Item, Reject
from darkroom.stages.options import parse_options
from darkroom.store.tables import json_text

_TIME: TypeAdapter[datetime] = TypeAdapter(datetime)

_FITTING = 1000
"""How many different options are remembered."""
MAX_LINE_BYTES = 1_000_000
"""A longer line is a reject; it is never held whole."""


class BadLine(ValueError):
    """A line that is not an item; caught where lines are read, and told as a `Reject`."""

    def __init__(self, field: str | None, reason: str, custom_id: object = None) -> None:
        super().__init__(reason)
        self.field, self.reason, self.custom_id = field, reason, custom_id

    def reject(self, line: int, source: str | None = None) -> Reject:
        """The record of it; texts are cut and made printable, as they come from anywhere.

        Args:
            line: where it stands.
            source: name of the file, where the source has several.
        """
        custom_id = printable(self.custom_id, 256) if isinstance(self.custom_id, str) else None
        name = None if self.field is None else printable(self.field, 100)
        reason = printable(self.reason, 1000)
        return Reject(source=source, line=line, field=name, reason=reason, custom_id=custom_id)


Found = tuple[int, Item | BadLine]
"""What a line of one file is, after its 1-based number."""


def doubled(custom_id: str) -> BadLine:
    """Why a line is none whose `custom_id` an earlier one has."""
    return BadLine("custom_id", "is in the source already; the first line with it counts", custom_id)


def printable(text: str, limit: int) -> str:
    """At most `limit` characters of `text`, what UTF-8 can't hold or a terminal obeys escaped."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    shown = "".join(c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in cut)
    return shown[: 2 * limit]


@dataclass
class Checker:
    """Turns raw fields into items of one flow."""

    flow: Flow
    folder: Path | str
    """What a relative `image` is relative to: a folder, or a URI in an object store without the last `/`."""
    roots: Sequence[str]
    fitting: set[str] = field(default_factory=set)
    """Options, as JSON, that were found good: many lines have the same."""

    def item(self, raw: dict[str, Any], *, strict: bool, plain: bool = False) -> Item:
        """The item that `raw` describes; its image is an absolute URI.

        Args:
            raw: the fields as read.
            strict: whether `"5"` is not a number: so in JSON, not in CSV, where all is text.
            plain: that `raw` is known to be flat, with nothing in it that JSON or UTF-8 can't hold. Then a
                good item takes a tenth of the time; what is wrong with a bad one is told the same way.

        Raises:
            BadLine: it is none for this flow.
        """
        if plain and self.flow.takes == "prompt":
            try:
                item = Item.model_validate(_with_time(raw) if strict else raw, strict=strict)
                self._must_fit(item)
            except (ValidationError, NewerSchema, BadLine):
                pass  # the long way says why
            else:
                return item
        return self._item(raw, strict)

    def _item(self, raw: dict[str, Any], strict: bool) -> Item:
        custom_id = raw.get("custom_id")
        try:
            text = json.dumps(raw, allow_nan=False, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise BadLine(None, "holds half a surrogate pair, which is no character", custom_id) from None
        except ValueError:
            raise BadLine(
                None, "holds a number that JSON has no word for (NaN or infinite)", custom_id
            ) from None
        except RecursionError:
            raise BadLine(None, "nested too deeply", custom_id) from None
        try:
            item = _validate(text, strict)
            self._must_fit(item)
            if item.image is not None:
                item = item.model_copy(update={"image": self._image_uri(item.image)})
        except ValidationError as error:
            raise _bad_line(error, custom_id) from None
        except NewerSchema as error:
            raise BadLine("schema_version", str(error), custom_id) from None
        except BadLine as error:
            raise BadLine(error.field, error.reason, custom_id) from None
        return item

    def _must_fit(self, item: Item) -> None:
        if getattr(item, self.flow.takes) is None:
            given = "image" if self.flow.takes == "prompt" else "prompt"
            raise BadLine(self.flow.takes, f"is missing: flow {self.flow.name} takes it, not {given}")
        if not item.options or (text := json_text(item.options)) in self.fitting:
            return
        for stage, options in item.options.items():
            if stage not in self.flow.stages:
                known = ", ".join(self.flow.stages)
                raise BadLine(f"options.{stage}", f"flow {self.flow.name} has no such stage; its are {known}")
            try:
                parse_options(stage, options)
            except InvalidItem as error:
                raise BadLine(f"options.{stage}", str(error)) from None
        if len(self.fitting) < _FITTING:
            self.fitting.add(text)

    def _image_uri(self, image: str) -> str:
        try:
            if is_remote(image):  # whether it is there, its chunk will see: one look-up a line is too slow
                remote_allowed(image, self.roots)
                return image
            path = local_path(image)
            if isinstance(self.folder, str) and not path.is_absolute():
                remote_allowed(f"{self.folder}/{image}", self.roots)
                return f"{self.folder}/{image}"
            root, below = allowed(Path(self.folder) / path, self.roots)
            real = root / below
            readable = real.is_file() and os.access(real, os.R_OK)
        except SourceNotAllowed as error:
            raise BadLine("image", str(error)) from None
        except (OSError, ValueError) as error:
            raise BadLine("image", f"can't be looked up: {error}") from None
        if not readable:
            raise BadLine("image", f"no such file: {image}")
        uri = real.as_uri()
        if len(uri) > 2048:  # noqa: PLR2004 - as `Item.image` allows
            raise BadLine("image", "its absolute URI has more than 2048 characters")
        return uri


def _validate(text: bytes, strict: bool) -> Item:
    """The item in a JSON object.

    Raises:
        BadLine: it is nested too deeply, or its time is none.
        ValidationError: it is none.
    """
    try:
        raw = from_json(text)  # refuses depths at which pydantic could not write the item again
    except ValueError as error:
        raise BadLine(None, f"nested too deeply ({error})") from None
    return Item.model_validate(_with_time(raw) if strict else raw, strict=strict)


def _with_time(raw: dict[str, Any]) -> dict[str, Any]:
    """The same with its time as one: it is text in JSON, but strict, pydantic wants a `datetime`.

    Raises:
        BadLine: it is none.
    """
    expires_at = raw.get("expires_at")
    if not isinstance(expires_at, str):
        return raw
    try:
        return {**raw, "expires_at": _TIME.validate_python(expires_at)}
    except ValidationError as error:
        raise BadLine("expires_at", error.errors()[0]["msg"]) from None


def _bad_line(error: ValidationError, custom_id: object) -> BadLine:
    problems = error.errors(include_url=False, include_context=False)
    first = str(problems[0]["loc"][0]) if problems[0]["loc"] else None
    told = []
    for problem in problems:
        name = ".".join(map(str, problem["loc"]))
        reason = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            reason = f"unknown field; known are {', '.join(Item.model_fields)}"
        told.append(reason if len(problems) == 1 else f"{name}: {reason}")
    return BadLine(first, "; ".join(told), custom_id)
