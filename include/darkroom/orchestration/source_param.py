"""The field `source` of the start form: what lies outside the allowed roots is refused at trigger time."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from airflow.sdk import Param

from darkroom.inputs import held_in, is_remote, local_path
from darkroom.settings import settings

_EXAMPLES = ["examples/prompts.jsonl", "examples/prompts.csv", "examples/photos"]


def source_param() -> Param:
    """What a person may name as the source of a batch."""
    return Param(
        _EXAMPLES[0],
        type="string",
        title="Source",
        minLength=1,
        maxLength=2048,
        pattern=pattern(
            settings().input_roots,
            held_in(settings().store_url),
            [api.root for api in settings().pages.values()],
        ),
        examples=_EXAMPLES,
        description_md="Prompts for the flows that begin with A, pictures for those that begin with B. "
        "A JSONL, CSV or Parquet file, such as **examples/prompts.csv**, also compressed; many by a glob, "
        "such as **inputs/\\*.csv**; the same in an object store; or a folder of pictures, such as "
        "**examples/photos**; or the URL of an HTTP API that the settings know. It must lie under an "
        "allowed root.",
    )


def pattern(roots: Sequence[str], held: str | None = None, apis: Sequence[str] = ()) -> str:
    """A regular expression for a path without a beginning, with that of a root or API, or for what is `held`.

    Only the text can be looked at when a run is triggered. Whether there is a file, and where links lead,
    `plan` says before anything else.
    """
    urls = [rf"{re.escape(api)}([/?][!-~]*)?" for api in apis]
    under = [rf"{re.escape(beginning)}(/.*)?" for root in roots for beginning in _beginnings(root)]
    ways = "|".join([r"(?![A-Za-z][A-Za-z0-9+.-]*://|/).+", *under, *([held] if held else []), *urls])
    return rf"^(?!.*(^|/)\.\.(/|$))({ways})$"


def _beginnings(root: str) -> Iterator[str]:
    if is_remote(root):
        yield root.rstrip("/")
        return
    for path in dict.fromkeys([str(local_path(root)), os.path.realpath(local_path(root))]):
        yield path.rstrip("/")
        yield Path(path).as_uri().rstrip("/")
