"""Machines of given speeds, without a GPU: a stage that sleeps, and one that judges at once.

Flag files let a test break one of them: `broken-<server>` makes every item fail, `hang-<server>` hangs the
model, `load-<server>` its loading, `speed-<server>` holds a new speed; into `count-<server>` it writes what
it begins with. `mended` makes an item whose prompt begins with `fails` succeed.
"""

import os
import signal
import time
from hashlib import sha256
from pathlib import Path

from darkroom.errors import InvalidItem, ItemError
from darkroom.records import Verdict
from darkroom.stages.base import Output, Request
from darkroom.stages.batch import run_each
from darkroom.stages.noop import PNG


class Paint:
    """Sleeps for each item, then gives the same small picture."""

    def __init__(
        self, seconds_per_item: float, flags: str = "", speeds: dict[str, float] | None = None
    ) -> None:
        self._seconds_per_item = seconds_per_item
        self._flags = Path(flags) if flags else None
        self._speeds = speeds or {}
        self._server = Path(os.environ.get("DARKROOM_REPORT", "")).name.removesuffix(".load.json")

    def load(self) -> None:
        """Nothing to load."""
        while self._flag("load") is not None:
            time.sleep(0.1)

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        """One picture an item, after the time they take."""
        real = [request for request in batch if request.custom_id != self.sample().custom_id]
        if self._flag("count") is not None:
            with (self._flags / f"count-{self._server}").open("a") as ledger:
                ledger.writelines(f"{request.custom_id}\n" for request in real)
        if real and self._flag("broken") is not None:
            raise RuntimeError(f"{self._server} is broken")
        while self._flag("hang") is not None:
            time.sleep(0.1)
        if any((request.prompt or "").startswith("poison") for request in real):
            os.kill(os.getpid(), signal.SIGKILL)
        speed = float(self._flag("speed") or self._speeds.get(self._server, 1))
        time.sleep(len(real) * self._seconds_per_item / speed)
        return run_each(batch, self._picture)

    def sample(self) -> Request:
        """Costs no time."""
        return Request("canary", prompt="canary")

    def _picture(self, request: Request) -> Output:
        if request.prompt.startswith("invalid"):
            raise InvalidItem("prompt: is invalid, as asked")
        if request.prompt.startswith("fails") and not (self._flags and (self._flags / "mended").exists()):
            raise RuntimeError("failed, as asked")
        return Output(image=PNG)

    def _flag(self, name: str) -> str | None:
        """What a flag file of this server says; None: it is not there."""
        try:
            return (self._flags / f"{name}-{self._server}").read_text() if self._flags else None
        except FileNotFoundError:
            return None


class Draw(Paint):
    """As `Paint`, from a prompt or a picture; no two are alike, or the next stage had done them before."""

    def sample(self) -> Request:
        """Costs no time."""
        return Request("canary", prompt="canary", image=PNG)

    def _picture(self, request: Request) -> Output:
        return Output(image=PNG + sha256((request.prompt or "").encode() + request.image).digest())


class Judge:
    """Accepts every picture, at once or after a time."""

    def __init__(self, seconds_per_item: float = 0.0) -> None:
        self._seconds_per_item = seconds_per_item

    def load(self) -> None:
        """Nothing to load."""

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        """One verdict an item."""
        real = [request for request in batch if request.custom_id != self.sample().custom_id]
        time.sleep(len(real) * self._seconds_per_item)
        return [Output(verdict=Verdict(accepted=True)) for _ in batch]

    def sample(self) -> Request:
        """The picture that `Paint` gives."""
        return Request("canary", image=PNG)
