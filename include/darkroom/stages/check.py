"""Load a stage in this process, hold it to its contract, measure it: `python -m darkroom.stages.check`.

Tells what it finds on standard output, a line of JSON each; what the stage itself prints goes to standard
error. A step that takes longer than the stage's row allows ends the process, with a traceback of where it is.
"""

import argparse
import faulthandler
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, Literal, cast

from darkroom.errors import ItemError
from darkroom.flows import STAGES, Stage
from darkroom.loading import load_class
from darkroom.stages.base import Request, StageModel
from darkroom.stages.contract import Broken, Contract, ask, user_traceback
from darkroom.stages.measure import gpu_mb, measure, ram_mb
from darkroom.stages.report import Doing, Finding, Line, Loaded, Speed

_LOADED, _HELD = 0.1, 0.2
"""Shares of the whole check that are done by then."""


class Check:
    """One stage under examination."""

    def __init__(self, stage: Stage, out: IO[str]) -> None:
        """Tell what is found about `stage` to `out`."""
        self._stage, self._out = stage, out

    def run(self, sizes: list[int], seconds: float, item: Request | None) -> None:
        """Load, check, measure; what breaks the contract ends it, and is told."""
        try:
            model = self._load()
            # A copy: a stage may answer its very own sample, the canary, without doing all the work.
            request = item or replace(model.sample())
            contract = Contract(
                self._stage, model, request, lambda: self._doing("run()", "deadline_s", _LOADED)
            )
            broken = False
            for finding in contract.check():
                broken |= finding.state == "failed"
                self._tell(Line(finding=finding))
            if not broken:
                self._measure(model, request, sizes, seconds)
        except Broken as error:
            self._tell(Line(finding=error.finding))
        self._tell(Line(end=True))

    def _load(self) -> StageModel:
        stage = self._stage
        before = ram_mb()
        begun = time.monotonic()
        self._doing("loading", "load_s", 0)
        model = self._made()
        try:
            model.load()
        # User code may raise anything.
        except Exception as error:
            todo = "load() must work on every machine that serves the stage"
            raise Broken(f"load() raised {_told(error)}", todo, user_traceback(error)) from error
        try:
            sample = model.sample()
        except Exception as error:
            todo = "sample() is asked for after load(), again and again"
            raise Broken(f"sample() raised {_told(error)}", todo, user_traceback(error)) from error
        if not isinstance(sample, Request):
            raise Broken(f"sample() gave a {type(sample).__name__}", "return a darkroom.stages.base:Request")
        answer = ask(model, [sample])[0]
        if isinstance(answer, ItemError):
            todo = "sample() must be a request that run() can do: it is the sign of life"
            what = f"run() refused the stage's own sample: {_told(answer)}"
            raise Broken(what, todo, user_traceback(answer.__cause__))
        device = getattr(model, "device", None)
        loaded = Loaded(
            implementation=stage.implementation, model=stage.model,
            device=None if device is None else str(device), seconds=time.monotonic() - begun,
            ram_before_mb=before, ram_mb=ram_mb(), gpu_mb=gpu_mb(),
        )  # fmt: skip
        self._tell(Line(loaded=loaded))
        self._tell(Line(finding=Finding(state="ok", what="it loads, and runs its own sample")))
        return model

    def _made(self) -> StageModel:
        field = f"stages.{self._stage.name}.implementation"
        try:
            found = load_class(self._stage.implementation, field)
        except Exception as error:
            todo = "its module must be importable where the model servers run"
            raise Broken(f"importing it raised {_told(error)}", todo, user_traceback(error)) from error
        if missing := [name for name in ("load", "run", "sample") if not hasattr(found, name)]:
            todo = "see darkroom.stages.base:StageModel"
            raise Broken(f"{found.__name__} has no {missing[0]}()", todo)
        try:
            return cast(StageModel, found(**self._stage.config))
        except Exception as error:
            given = ", ".join(self._stage.config) or "nothing"
            todo = f"[stages.{self._stage.name}.config] gives its arguments: {given}"
            raise Broken(f"{found.__name__}() raised {_told(error)}", todo, user_traceback(error)) from error

    def _measure(self, model: StageModel, request: Request, sizes: list[int], seconds: float) -> None:
        each = (1 - _HELD) / len(sizes)
        for number, size in enumerate(sizes):
            begin, what = _HELD + number * each, f"batches of {size}"

            def alive(share: float, begin: float = begin, what: str = what) -> None:
                self._doing(what, "deadline_s", begin + share * each)

            try:
                speed = measure(model, request, size, seconds, alive)
            except Broken as error:
                broken = error.finding
                self._tell(Line(speed=Speed(batch_size=size, error=broken.what)))
                # Beyond what the row allows, such as out of memory, it only bounds the recommendation.
                if size > max(self._stage.batch_size, sizes[0]):
                    todo = f"keep batch_size below {size}"
                    broken = broken.model_copy(update={"state": "warning", "todo": todo})
                self._tell(Line(finding=broken))
                return
            self._tell(Line(speed=speed))

    def _doing(self, what: str, limit: Literal["load_s", "deadline_s"], share: float) -> None:
        # A thread in C, so also when the stage hangs in C; after it nothing of this process is left to hang.
        faulthandler.dump_traceback_later(getattr(self._stage, limit), exit=True)
        self._tell(Line(doing=Doing(what=what, limit=limit, share=share)))

    def _tell(self, line: Line) -> None:
        self._out.write(line.model_dump_json(exclude_unset=True) + "\n")
        self._out.flush()


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def main() -> int:
    """Parse the command line and check."""
    parser = argparse.ArgumentParser(prog="python -m darkroom.stages.check", description=__doc__)
    parser.add_argument("--stage", required=True, choices=sorted(STAGES))
    parser.add_argument("--batch-sizes", default="1,2,4,8", help="such as 1,2,4,8")
    parser.add_argument("--seconds", type=float, default=2.0, help="to measure each of them")
    parser.add_argument("--prompt", help="measure with this prompt instead of the stage's sample")
    parser.add_argument("--input", type=Path, help="measure with this picture instead of the stage's sample")
    arguments = parser.parse_args()
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    faulthandler.enable()
    item = None
    if arguments.prompt is not None or arguments.input is not None:
        image = arguments.input.read_bytes() if arguments.input else b""
        item = Request("item", prompt=arguments.prompt, image=image)
    sizes = [int(size) for size in arguments.batch_sizes.split(",")]
    Check(STAGES[arguments.stage], out).run(sizes, arguments.seconds, item)
    return 0


if __name__ == "__main__":
    sys.exit(main())
