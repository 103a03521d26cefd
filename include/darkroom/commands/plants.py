"""The plant as commands see it, on this machine or elsewhere."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Protocol

from darkroom.commands.admission import check_backlog
from darkroom.commands.connection import CHILD_DAG_ID, DAG_ID, api, batch_named, redis_url
from darkroom.commands.elsewhere import Elsewhere, is_elsewhere, session
from darkroom.days import Daily, given
from darkroom.delivery.hosts import refuse_callback
from darkroom.errors import BadRequest, NotPlanned
from darkroom.flows import FLOWS
from darkroom.rest.api import FINAL_STATES, AirflowApi, ApiError, Run
from darkroom.results.summary import Summary
from darkroom.settings import settings
from darkroom.sources import from_here, look_up
from darkroom.stages.options import check_options
from darkroom.views.looking import Lookout, Steering
from darkroom.views.outlook import Outlook
from darkroom.views.sight import Sight


class Plant(Protocol):
    """What commands ask of a plant."""

    @property
    def api(self) -> AirflowApi:
        """Its Airflow: runs and backfills."""
        ...

    @property
    def look_every_s(self) -> float:
        """How often it may be looked at."""
        ...

    def admit(
        self, source: str, flow: str, options: dict[str, Any], force: bool, callback_url: str | None = None
    ) -> str:
        """Refuse a batch that could not be planned; its source as the plant names it.

        Raises:
            BadRequest: options are wrong, the source is not there or not allowed, nor the host to be called
                back; PlantFull: too much waits, and nobody insists.
        """
        ...

    def request(self, batch_id: str) -> dict[str, Any] | None:
        """What was asked for under a name, as a run's conf; None: nothing yet."""
        ...

    def sight(self, batch_id: str) -> Sight:
        """All there is to say of a batch.

        Raises:
            NoSuchBatch: nobody has asked for it.
        """
        ...

    def look(self, batch_id: str, run_id: str, flow: str) -> tuple[str, Outlook]:
        """The state of a run, and its batch's numbers: for asking again and again."""
        ...

    def wish(self, batch_id: str, state: Steering) -> None:
        """Pause a batch, resume it, cancel it: see `Lookout.wish`."""
        ...

    def file(self, summary: Summary, name: str) -> Iterator[bytes]:
        """A file of a manifest, piece by piece."""
        ...

    def daily(self) -> Daily:
        """What it runs every day.

        Raises:
            BadRequest: nothing.
        """
        ...

    def places(self, summary: Summary) -> list[str]:
        """Where a person opens what a batch came to."""
        ...


class Here:
    """The plant of this machine, or one whose Redis and store this machine reaches as well."""

    look_every_s = 0.5

    @cached_property
    def api(self) -> AirflowApi:
        """A session with its API."""
        return api()

    @cached_property
    def _live(self) -> Lookout:
        return Lookout.at(redis_url())

    def admit(
        self, source: str, flow: str, options: dict[str, Any], force: bool, callback_url: str | None = None
    ) -> str:
        """What can be checked before a run is started is checked."""
        if flow not in FLOWS:
            raise BadRequest(f"--flow {flow!r}: choose one of {', '.join(FLOWS)}")
        check_options(flow, options)
        if callback_url:
            refuse_callback(callback_url, settings().callback_hosts)
        found = from_here(source)  # the plant looks from its own folder
        look_up(found, settings().source_roots, settings().pages)
        check_backlog(force)
        return found

    def request(self, batch_id: str) -> dict[str, Any] | None:
        """From the store."""
        try:
            return batch_named(batch_id).request().conf
        except NotPlanned:
            return None

    def sight(self, batch_id: str) -> Sight:
        """Where the plant is down, or forgot the run, what the store holds is still true."""
        run: Run | None = None
        try:
            run = self.api.newest_run(DAG_ID, batch_id)
        except (ApiError, BadRequest):
            run = None
        return Sight.of(batch_named(batch_id), self._live, run)

    def look(self, batch_id: str, run_id: str, flow: str) -> tuple[str, Outlook]:
        """The manifest is not looked for: that is slow in an object store."""
        state = self.api.run_state(DAG_ID, run_id)
        return state, self._live.look(batch_id, flow, state)

    def wish(self, batch_id: str, state: Steering) -> None:
        """Into Redis, where the chunks look."""
        ended = self.api.newest_run(DAG_ID, batch_id).state in FINAL_STATES
        self._live.wish(batch_id, state, ended=ended and not self.api.active_runs(CHILD_DAG_ID, batch_id))

    def file(self, summary: Summary, name: str) -> Iterator[bytes]:
        """From the store."""
        batch = batch_named(summary.batch_id)
        return batch.store.stream(batch.manifest_path(summary.generation, name))

    def daily(self) -> Daily:
        """From the settings."""
        return given(settings().daily)

    def places(self, summary: Summary) -> list[str]:
        """The files themselves."""
        batch = batch_named(summary.batch_id)
        return summary.places() + ([batch.store.uri(batch.rejects_path)] if summary.rejects else [])


def plant() -> Plant:
    """The plant that the settings name."""
    return Elsewhere(session()) if is_elsewhere() else Here()
