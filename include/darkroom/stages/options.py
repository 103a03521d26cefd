"""What a person may set per stage: one model each, the only place for limits and defaults.

The trigger form derives its JSON Schema from these, so nothing here imports a runtime.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from darkroom.errors import BadRequest, InvalidItem
from darkroom.flows import FLOWS, STAGES, Stage
from darkroom.loading import load_class

MAX_PIXELS = 40_000_000
"""The largest picture that is decoded, unless an option says otherwise."""
ENLARGEMENT = 4
"""What the super-resolution model multiplies each side by."""


class Options(BaseModel):
    """Base: an option that doesn't exist is an error, not a typo without effect."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class GenerateOptions(Options):
    """Options of `generate`."""

    steps: Annotated[
        int, Field(ge=1, le=64, description="Sampling steps: time grows with them, detail up to some 16.")
    ] = 16
    cfg: Annotated[
        float, Field(ge=0, le=10, description="How strictly the picture follows the prompt; 0 ignores it.")
    ] = 3.0


class EnhanceOptions(Options):
    """Options of `enhance`."""

    scale: Annotated[
        Literal[1, 2, 4],
        Field(description="The result's size against the (reduced) input; 1 only cleans it up."),
    ] = 4
    # At most 1536, so that the enlarged picture stays below MAX_PIXELS and `inspect` takes it.
    max_side: Annotated[
        int,
        Field(ge=16, le=1536, description="Inputs with a longer side, in pixels, are first reduced to it."),
    ] = 512
    max_pixels: Annotated[
        int, Field(ge=1, le=100_000_000, description="Inputs with more pixels are refused before decoding.")
    ] = MAX_PIXELS


class InspectOptions(Options):
    """Options of `inspect`: the limits beyond which a picture is rejected."""

    max_nsfw: Annotated[
        float, Field(ge=0, le=1, description="Highest score of the advisory not-safe-for-work classifier.")
    ] = 0.8
    min_sharpness: Annotated[
        float,
        Field(
            ge=0,
            le=10_000,
            description="Lowest variance of the Laplacian: 0 accepts any blur, 3 rejects motion blur.",
        ),
    ] = 0.3
    min_contrast: Annotated[
        float, Field(ge=0, le=128, description="Lowest standard deviation of a colour channel, of 255.")
    ] = 3.0
    check_caption: Annotated[
        bool | Literal["auto"],
        Field(
            description="Compare the colours with the prompt. auto: where there is a prompt and the shapes "
            "model drew the picture; true: a prompt that can't be checked is a reason too; false: never."
        ),
    ] = "auto"


class DiffusionOptions(Options):
    """Options of `darkroom.stages.diffusion:Diffusion`; what the pipeline doesn't take is refused there."""

    steps: Annotated[
        int | None,
        Field(ge=1, le=150, description="Sampling steps, 1 to 150; empty: the pipeline's default."),
    ] = None
    guidance: Annotated[
        float | None,
        Field(
            ge=0,
            le=30,
            description="How strictly the picture follows the prompt; empty: the pipeline's default.",
        ),
    ] = None
    negative_prompt: Annotated[
        str | None, Field(max_length=4000, description="What the picture should not show.")
    ] = None


class EndpointOptions(Options):
    """Options of `darkroom.stages.endpoint:Endpoint`."""

    fields: Annotated[
        dict[str, str | int | float | bool],
        Field(max_length=32, description="Sent along as they are, as the endpoint's own manual names them."),
    ] = {}


_T = TypeVar("_T", bound=Options)


def parse_as(kind: type[_T], options: dict[str, Any]) -> _T:
    """`options` checked against `kind`, with its defaults.

    Raises:
        InvalidItem: an option is unknown or out of its limits; the message names each.
    """
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        raise InvalidItem(explain(error, "options")) from error


def parse_options(stage: str, options: dict[str, Any]) -> Options:
    """`options` checked against those of `stage`, with their defaults.

    Raises:
        InvalidItem: an option is unknown or out of its limits; the message names each.
        KeyError: no such stage.
    """
    return parse_as(options_of(STAGES[stage]), options)


def check_options(flow: str, options: Mapping[str, dict[str, Any]]) -> None:
    """Refuse options that a stage does not take, or of a stage that the flow does not have.

    Raises:
        BadRequest: which, and why.
    """
    for stage, given in options.items():
        if stage not in FLOWS[flow].stages:
            raise BadRequest(f"options.{stage}: flow {flow} has no stage {stage!r}")
        try:
            parse_options(stage, given)
        except InvalidItem as error:
            raise BadRequest(f"options.{stage}: {error}") from error


def explain(error: ValidationError, prefix: str) -> str:
    """One line for people: `options.steps: Input should be less than or equal to 64; ...`."""
    # The first part of a location is the field; what follows names branches of a union.
    reasons: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_input=False):
        field = ".".join([prefix, *(str(part) for part in detail["loc"][:1])])
        reasons.setdefault(field, detail["msg"])
    return "; ".join(f"{field}: {reason}" for field, reason in reasons.items())


def options_of(stage: Stage) -> type[Options]:
    """The options model that a stage's row names; one without a row has none to set.

    Raises:
        BadRequest: there is no such class, or it is no `Options`.
    """
    if stage.options is None:
        return Options
    field = f"stages.{stage.name}.options"
    found = load_class(stage.options, field)
    if not issubclass(found, Options):
        raise BadRequest(f"{field}: {stage.options} must be a subclass of darkroom.stages.options:Options")
    return found


def options_by_stage() -> dict[str, type[Options]]:
    """The options model of each stage of the table.

    Not a constant: a user's module imports this one, and may be imported first.
    """
    return {stage.name: options_of(stage) for stage in STAGES.values()}
