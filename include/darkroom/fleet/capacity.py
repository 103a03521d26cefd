"""Keeps Airflow's pools and Celery's workers to what the fleet can do: `python -m darkroom.fleet.capacity`.

The pool of each stage has as many slots as lanes of servers that are ready and not fenced, all over the
fleet, and of those that restart while their chunks wait; its `_now` pool as many as such servers. `darkroom
up` runs it beside Airflow. A pool larger than that would hand tasks to a broker from which nobody takes them,
and Airflow gives up what is queued for too long; a smaller one would leave a GPU idle. A worker whose server
is fenced, or stays away, takes no chunks.
"""

import logging
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from darkroom import logs
from darkroom.errors import BadRequest, DarkroomError
from darkroom.fleet.consumers import Consumers
from darkroom.fleet.plant import announce, mark
from darkroom.fleet.presence import Presence
from darkroom.fleet.servers import Fleet, FleetUnknown, waiting
from darkroom.flows import LIGHT_POOL, STAGES, Stage
from darkroom.rest.api import AirflowApi
from darkroom.settings import settings
from darkroom.store.storage import open_store

ROUND_S = 3.0
LOOK_AGAIN_S = 30.0
"""How long what is known of the pools holds: Airflow counts what is in each of them to tell their sizes, and
its API answers nobody meanwhile."""

log = logging.getLogger("capacity")


@dataclass
class Capacity:
    """The pools and the workers of one plant."""

    api: AirflowApi
    fleet: Fleet
    consumers: Consumers
    stages: Mapping[str, Stage]
    light_slots: int
    """Tasks without a model that may run at once and are not an interactive run's."""
    presence: Presence
    _slots: dict[str, int] = field(default_factory=dict)
    _looked: float = -math.inf
    _why: dict[str, str] = field(default_factory=dict)

    def follow(self, now: float) -> None:
        """Bring pools and workers to what is there; `now` in monotonic seconds.

        Raises:
            DarkroomError: Redis or Airflow does not answer; what was not reached stays as it is.
        """
        try:
            servers = self.fleet.servers()
        except FleetUnknown:
            self.presence.blink()
            raise
        self.presence.see(servers, now)
        self._say_who_waits(waiting(servers, self.stages))
        try:
            self._follow_with_workers(now)
        finally:  # whatever is wrong with the one must not hold up the other
            self._follow_with_pools(now)

    def _follow_with_pools(self, now: float) -> None:
        counting = self.presence.counting()
        if now >= self._looked + LOOK_AGAIN_S:
            self._slots, self._looked = self.api.pools(), now
        if LIGHT_POOL not in self._slots:  # its size may be changed by hand
            self._set(LIGHT_POOL, self.light_slots, "Tasks without a model, but of interactive runs")
        for stage in self.stages.values():
            servers = [server for server in counting if server.stage == stage.name]
            self._follow_with(stage.pool, sum(server.lanes for server in servers), stage.summary)
            self._follow_with(stage.now_pool, len(servers), f"{stage.summary} (interactive runs)")

    def _follow_with(self, pool: str, wanted: int, what: str) -> None:
        have = self._slots.get(pool, -1)
        if wanted < have and not self.presence.knows_who_is_missing():
            return
        if wanted != have:
            log.info("%s: %d slots instead of %d", pool, wanted, max(have, 0))
            self._set(pool, wanted, what)

    def _set(self, pool: str, slots: int, what: str) -> None:
        looked, self._looked = self._looked, -math.inf  # until Airflow has said that it took it
        self.api.set_pool(pool, slots, what)
        self._slots[pool], self._looked = slots, looked

    def _follow_with_workers(self, now: float) -> None:
        wanted: dict[tuple[str, str], bool] = {}
        for server, takes in self.presence.taking():
            if stage := self.stages.get(server.stage):
                wanted[server.worker, stage.queue] = takes
                if server.now_worker:  # it stands aside when no server of the stage is left to it
                    now_queue = (server.now_worker, stage.now_queue)
                    wanted[now_queue] = wanted.get(now_queue, False) or takes
        self.consumers.follow(wanted, now)

    def _say_who_waits(self, why: dict[str, str]) -> None:
        for stage in sorted(why.keys() | self._why.keys()):
            if stage not in why:
                log.info("%s: there is a server again", stage)
            elif why[stage] != self._why.get(stage):
                log.info("%s: its chunks wait: %s", stage, why[stage])
        self._why = why


def main() -> int:
    """Follow until the process is ended."""
    logs.begin()
    here = settings()
    redis_url, password = here.redis_url.get_secret_value(), here.api_password.get_secret_value()
    if not (redis_url and here.broker_url and here.api_url and password):
        raise BadRequest(
            "set DARKROOM_REDIS_URL, DARKROOM_BROKER_URL, DARKROOM_API_URL and DARKROOM_API_PASSWORD"
        )
    api, broker_url = AirflowApi(here.api_url, here.api_user, password), here.broker_url.get_secret_value()
    consumers, presence = Consumers(broker_url), Presence(here.server_grace_s)
    capacity = Capacity(api, Fleet(redis_url), consumers, STAGES, here.light_slots, presence)
    store, beat = open_store(here.store_url), here.home / "run" / "capacity"
    beat.parent.mkdir(parents=True, exist_ok=True)
    plant_id, said = "", ""
    while True:
        try:
            plant_id = plant_id or mark(store)
            announce(plant_id, redis_url)
            capacity.follow(time.monotonic())
            beat.touch()
            said = ""
        except DarkroomError as error:
            if str(error) != said:  # once, not at every round
                log.warning("%s", error)
                said = str(error)
        time.sleep(ROUND_S)


if __name__ == "__main__":
    sys.exit(main())
