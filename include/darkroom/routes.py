"""The tables `[then.<name>]` of `darkroom.toml`: where items go on to, once it is known what they came to."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

RouteName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
"""It becomes part of paths and of names of batches."""


class Route(BaseModel):
    """One way to go on: a function that is asked of each item."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    summary: Annotated[str, Field(min_length=1, max_length=200)]
    """What the start form says of it."""
    function: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]
    """Where the function is: `module:function`, looked for as the class of a stage is. It gets the item's
    `Result` and the manifest's `Summary`, and returns the name of the next flow, or None: done."""
    options: dict[str, dict[str, Any]] = {}
    """Per stage, over those of the batch that the items come from."""
