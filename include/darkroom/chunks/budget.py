"""How long a chunk may take: what an average server would need, several times over.

What a machine at a fiftieth of its speed leaves over is cut again for all. The average is that of the plan
until the batch itself has been measured: other options, other pictures may take many times longer.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from darkroom.flows import Stage
from darkroom.live.progress import Progress
from darkroom.plans.planning import average_seconds_per_item, time_budget_s


@dataclass
class Budget:
    """The time budget of one chunk on one host."""

    stage: Stage
    n_items: int
    seconds_per_item: float
    """Of an average server, as the plan has it."""
    others: Callable[[], dict[str, float]] = field(default=dict)
    """Seconds per item of the other hosts that have worked on this batch."""

    crawls: bool = field(default=False, init=False)
    """Whether it was spent because this host is many times slower than the others."""

    def __post_init__(self) -> None:
        self._limit_s = self._limit(self.seconds_per_item)

    def spent(self, elapsed_s: float) -> bool:
        """Whether the chunk shall end with what it has; who is alone has nobody to leave the rest to."""
        if elapsed_s <= self._limit_s:
            return False
        timeout_s = self._limit(float("inf"))
        others = self.others()
        self._limit_s = (
            max(self._limit_s, self._limit(average_seconds_per_item(others))) if others else timeout_s
        )
        self.crawls = bool(others) and elapsed_s > self._limit_s and self._limit_s < timeout_s
        return elapsed_s > min(self._limit_s, timeout_s)

    def _limit(self, seconds_per_item: float) -> float:
        stage = self.stage
        return time_budget_s(self.n_items, seconds_per_item, stage.lanes_per_server, stage.chunk_timeout_s)


def measured_elsewhere(progress: Progress, batch_id: str, stage: str, host: str) -> dict[str, float]:
    """Seconds per item of each other host that has worked on a stage of the batch."""
    seen = progress.read(batch_id).hosts
    return {
        other.host: other.busy_s / other.computed
        for other in seen
        if other.stage == stage and other.host != host and other.computed and other.busy_s
    }
