"""What `darkroom stage new` writes: a class that works as it stands, and its row."""

import keyword
import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from darkroom.errors import BadRequest
from darkroom.flows import FLOWS, SHIPPED_FLOWS, SHIPPED_STAGES, STAGES, merge_flows, merge_stages

Takes = Literal["prompt", "image"]
Gives = Literal["image", "verdict"]

_ROW = """\
[stages.{name}]
summary = "say in a few words what it does"
implementation = "{name}:{cls}"
options = "{name}:{cls}Options"
model = "{name}@1"            # part of every picture's key: other weights need another name
takes = "{takes}"
gives = "{gives}"
memory_mb = 500               # `darkroom stage check {name}` measures these three
seconds_per_item = 0.1
batch_size = 1

[stages.{name}.config]        # keyword arguments of {cls}

[flows.{flow}]
summary = "{summary}"
stages = [{stages}]
"""


@dataclass(frozen=True)
class Skeleton:
    """A stage about to be."""

    name: str
    takes: Takes
    gives: Gives

    @property
    def cls(self) -> str:
        """The name of its class."""
        return "".join(part.capitalize() for part in self.name.split("_"))

    @property
    def stages(self) -> tuple[str, ...]:
        """Of a flow that shows what it does: behind `generate`, or before `inspect`."""
        return (self.name, "inspect") if self.takes == "prompt" else ("generate", self.name)

    @property
    def flow(self) -> str:
        """A name for that flow in the manner of the shipped ones, such as `A_S`."""
        wanted = "{}_C" if self.takes == "prompt" else "A_{}"
        names = [wanted.format(self.name[0].upper()), wanted.format(self.name.upper())]
        taken = {flow.lower() for flow in FLOWS}
        return next((name for name in names if name.lower() not in taken), names[-1])

    def module(self) -> str:
        """The text of its module."""
        text = (files("darkroom.skeletons") / f"{self.takes}_to_{self.gives}.py").read_text()
        return text.replace("Skeleton", self.cls).replace("skeleton", self.name)

    def row(self) -> str:
        """What stands in `darkroom.toml`: its row, and a flow."""
        stages = ", ".join(f'"{stage}"' for stage in self.stages)
        summary = " -> ".join(self.stages)
        return _ROW.format(
            name=self.name, cls=self.cls, takes=self.takes, gives=self.gives, flow=self.flow,
            stages=stages, summary=summary,
        )  # fmt: skip


def write(skeleton: Skeleton, folder: Path, config: Path) -> Path:
    """Write the module into `folder` and its row at the end of `config`; the module's path.

    Raises:
        BadRequest: its name can't be used, or something is there already; nothing is written then.
    """
    path = folder / f"{skeleton.name}.py"
    _check_name(skeleton.name, path)
    before = config.read_text() if config.exists() else ""
    row = skeleton.row()
    if before:
        row = ("\n" if before.endswith("\n") else "\n\n") + row
    _check_rows(before + row, skeleton, config)
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("x") as file:
        file.write(skeleton.module())
    with config.open("a") as file:
        file.write(row)
    return path


def _check_name(name: str, path: Path) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,30}", name) or keyword.iskeyword(name):
        raise BadRequest(f"NAME {name!r}: lower-case letters, digits and _, at most 31, no word of Python's")
    if name in STAGES:
        raise BadRequest(f"NAME {name!r}: there is such a stage already; there are: {', '.join(STAGES)}")
    if path.exists():
        raise BadRequest(f"NAME {name!r}: {path} exists already")
    if (found := find_spec(name)) is not None:
        where = found.origin or "a folder of the Python path"
        raise BadRequest(
            f"NAME {name!r}: a module of that name is installed ({where}) and would be found first"
        )


def _check_rows(text: str, skeleton: Skeleton, config: Path) -> None:
    try:
        rows = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadRequest(
            f"{config}: the row of {skeleton.name} can't be put at its end ({error}); put it in yourself:\n\n"
            f"{skeleton.row()}"
        ) from error
    merge_flows(SHIPPED_FLOWS, rows["flows"], merge_stages(SHIPPED_STAGES, rows["stages"]))
