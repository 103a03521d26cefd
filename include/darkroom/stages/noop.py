"""A stage that does nothing, for benchmarks of everything around the models."""

import base64
import time

from darkroom.errors import ItemError
from darkroom.records import Verdict
from darkroom.settings import settings
from darkroom.stages.base import Output, Request

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFElEQVR4nGNsaGhgwAaYsIoOWgkAMBcBkGHHl6YAAAAASUVORK5CYII="
)
"""8 x 8 pixels, grey."""


class Noop:
    """Stands in for any stage: a fixed picture and an accepting verdict, `DARKROOM_NOOP_MS` per item."""

    def load(self) -> None:
        """Nothing to load."""
        self._seconds_per_item = settings().noop_ms / 1000

    def run(self, batch: list[Request]) -> list[Output | ItemError]:
        """The same answer for each; its caller takes the half that its stage gives."""
        if self._seconds_per_item:
            time.sleep(self._seconds_per_item * len(batch))
        return [Output(image=PNG, verdict=Verdict(accepted=True)) for _ in batch]

    def sample(self) -> Request:
        """Anything."""
        return Request("canary", prompt="nothing")
