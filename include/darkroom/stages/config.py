"""The `config` of a stage's row, checked: a wrong value is named before any weights are loaded."""

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class Config(BaseModel):
    """Base: a keyword that doesn't exist is an error, and so is a number in the place of a text."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


_T = TypeVar("_T", bound=Config)


def parse_config(kind: type[_T], values: dict[str, Any]) -> _T:
    """`values` checked against `kind`, with its defaults.

    Raises:
        ValueError: a keyword is unknown, missing or wrong; the message names it and what is allowed.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ValueError("; ".join(_explain(dict(detail), kind) for detail in error.errors())) from None


def _explain(detail: dict[str, Any], kind: type[Config]) -> str:
    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{name}: there is no such keyword; there are: {', '.join(kind.model_fields)}"
    message = str(detail["msg"]).removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
