"""All there is to say of a batch at once: what `darkroom show --json` and the REST API tell."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter

from darkroom.errors import NoSuchBatch, NotPlanned
from darkroom.flows import DEFAULT_FLOW
from darkroom.rest.api import Run
from darkroom.results.manifest import current
from darkroom.results.onward import Onward, gone_on
from darkroom.results.summary import Summary
from darkroom.store.batches import Batch
from darkroom.views.looking import Lookout
from darkroom.views.outlook import Outlook

_OUTLOOK: TypeAdapter[Outlook] = TypeAdapter(Outlook)


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at a batch, with its newest run and its newest manifest."""

    outlook: Outlook
    run_id: str | None
    """Of the newest run of `image_flow` that works on it; None where Airflow knows of none, or is away."""
    run_state: str
    """Of that run: queued, running, success, failed; without one, how the batch ended, or unknown."""
    summary: Summary | None
    """None before the first manifest."""
    then: list[Onward] = field(default_factory=list)
    """What has gone on to other flows, each a batch of its own."""

    @classmethod
    def of(cls, batch: Batch, live: Lookout, run: Run | None) -> "Sight":
        """Look at a batch.

        Raises:
            NoSuchBatch: it was never planned, and no run works on it.
        """
        try:
            flow = batch.request().flow
        except NotPlanned:
            if run is None:
                raise NoSuchBatch(f"there is no batch {batch.batch_id!r}; see: darkroom batches") from None
            flow = run.conf.get("flow", DEFAULT_FLOW)
        state = run.state if run else live.progress.read(batch.batch_id).ended or "unknown"
        look = live.look(batch.batch_id, flow, state)
        return cls(look, run.run_id if run else None, state, current(batch), gone_on(batch))

    @property
    def told(self) -> dict[str, Any]:
        """As one JSON object."""
        return {
            **asdict(self.outlook),
            "waits": self.outlook.waits,
            "run_id": self.run_id,
            "run_state": self.run_state,
            "summary": self.summary and self.summary.model_dump(mode="json"),
            "then": [onward.model_dump(mode="json") for onward in self.then],
        }

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> "Sight":
        """What somebody else's `told` says."""
        summary = told["summary"]
        return cls(
            _OUTLOOK.validate_python(told),
            told["run_id"],
            told["run_state"],
            summary and Summary.model_validate(summary),
            [Onward.model_validate(onward) for onward in told.get("then", ())],
        )
