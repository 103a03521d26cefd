"""Switches that several commands have."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Wait = Annotated[bool, typer.Option("--wait", help="Show progress and end when the batch does.")]
