"""What a lane measures of its work, for the next plan, for who watches, for Prometheus: told by one call."""

from collections.abc import Sequence
from typing import Any

from darkroom.flows import Stage
from darkroom.live.connection import InRedis
from darkroom.live.meter import Meter
from darkroom.live.rates import Rates
from darkroom.live.totals import Totals
from darkroom.records import Result


class Measures(InRedis):
    """The rates, the meter and the totals of a plant, to write; an empty URL has none.

    A Redis that is down fails nobody.
    """

    def computed(self, stage: Stage, batch_id: str, host: str, results: Sequence[Result]) -> None:
        """Tell of the items of a batch that have come back: only what the model computed counts."""
        busy = [busy_s for row in results if (busy_s := row.told_by(stage.name).get("busy_s"))]

        def fill(pipe: Any) -> None:
            Totals.into(pipe).computed(stage.name, results)
            if busy:
                Rates.into(pipe).tell(stage.name, stage.model, host, len(busy), sum(busy))
                Meter.into(pipe).computed(stage.name, batch_id, len(busy), sum(busy))

        self._write(fill, "what was measured")

    def ended(self, stage: str, part: Sequence[Result], seconds: float) -> None:
        """Tell of a chunk whose part was written, and how long its lane had it."""

        def fill(pipe: Any) -> None:
            Meter.into(pipe).chunk(stage, seconds)
            Totals.into(pipe).ended(stage, part, seconds)

        self._write(fill, "what was measured")

    def picture(self, **told: str | float) -> None:
        """Show a picture that was just finished: the fields of a `PictureNow`."""
        self._write(lambda pipe: Meter.into(pipe).picture(**told), "a picture")
