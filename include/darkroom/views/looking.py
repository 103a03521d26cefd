"""One look at a batch: its run's state, what its chunks tell, and what the fleet can do for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from darkroom.errors import BadRequest
from darkroom.fleet.servers import Fleet, FleetUnknown
from darkroom.flows import FLOWS, STAGES
from darkroom.live.control import Control, Wish
from darkroom.live.progress import Progress, Snapshot
from darkroom.live.rates import Rates
from darkroom.rest.api import FINAL_STATES
from darkroom.views.outlook import Outlook, outlook

Steering = Literal["running", "paused", "cancelled"]
"""What a person may ask of a batch that is under way."""


@dataclass(frozen=True)
class Lookout:
    """What is known beside the store; where Redis does not answer, nothing is."""

    progress: Progress
    rates: Rates
    control: Control
    fleet: Fleet

    @classmethod
    def at(cls, redis_url: str) -> "Lookout":
        """All of it in one Redis."""
        return cls(Progress(redis_url), Rates(redis_url), Control(redis_url), Fleet(redis_url))

    def look(self, batch_id: str, flow: str, run_state: str) -> Outlook:
        """The batch now.

        Args:
            batch_id: its name.
            flow: its flow's name.
            run_state: of its newest run, as Airflow says.
        """
        seen = self.progress.read(batch_id)
        stages = FLOWS[flow].stages
        measured = {
            stage: {
                host: rate.seconds_per_item
                for host, rate in self.rates.read(stage, STAGES[stage].model).items()
            }
            for stage in stages
        }
        state = state_of(run_state, self.control.state(batch_id), seen)
        return outlook(batch_id, state, flow, seen, measured, self._waiting(stages))

    def wish(self, batch_id: str, state: Steering, *, ended: bool) -> None:
        """Have a batch stop for a while, go on, or stop for good; a running chunk hears it soon.

        Args:
            batch_id: its name.
            state: what it shall be.
            ended: whether all its runs have ended: then it can only be made ready for a retry, by `running`.

        Raises:
            BadRequest: it has ended, or it is cancelled and its runs have not ended yet.
            ControlUnknown: Redis does not answer.
        """
        if ended and state != "running" and (state, self.control.state(batch_id)) != ("cancelled",) * 2:
            raise BadRequest(f"batch {batch_id} has ended already; see: darkroom show {batch_id}")
        if state == "paused":
            self.control.pause(batch_id)
        elif state == "cancelled":
            self.control.cancel(batch_id)
            self.progress.end(batch_id, "cancelled")
        elif ended:
            self.control.clear(batch_id)
        else:
            self.control.resume(batch_id)

    def _waiting(self, stages: Iterable[str]) -> dict[str, str]:
        try:
            return self.fleet.waiting(stages)
        except FleetUnknown:
            return {}


def state_of(run_state: str, wish: Wish, seen: Snapshot) -> str:
    """How a batch's state reads: of its run, over it what a person has asked for."""
    if run_state in FINAL_STATES:
        return "cancelled" if wish == "cancelled" else run_state
    if wish:
        return wish
    return "planning" if run_state == "running" and seen.items is None else run_state
