"""Pools follow the fleet: a stage's pool has a slot for each lane of a live, healthy server.

`python -m darkroom.capacity`, one beside Airflow. A pool larger than that would hand tasks to a broker
from which nobody takes them, and Airflow gives up what is queued for too long; a smaller one would leave a
GPU idle.
"""

import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from darkroom.api import AirflowApi
from darkroom.errors import BadRequest, DarkroomError
from darkroom.fleet import Fleet, FleetUnknown
from darkroom.flows import STAGES, Stage
from darkroom.plant import announce, mark
from darkroom.settings import settings
from darkroom.storage import open_store

ROUND_S = 3.0
PATIENCE_S = 30.0
"""A server that restarts keeps its lanes for so long: what waits for it needs no second way round."""

log = logging.getLogger("capacity")


@dataclass
class Capacity:
    """The pools of one plant."""

    api: AirflowApi
    fleet: Fleet
    stages: Mapping[str, Stage]
    _fewer_since: dict[str, float] = field(default_factory=dict)

    def follow(self, now: float) -> None:
        """Bring the pools to what is there; `now` in monotonic seconds.

        Raises:
            DarkroomError: Redis or Airflow does not answer; the pools stay as they are.
        """
        try:
            lanes = self.fleet.lanes()
        except FleetUnknown:
            self._fewer_since.clear()  # nobody could tell: what was missed begins anew
            raise
        slots = self.api.pools()
        for stage in self.stages.values():
            wanted, have = lanes.get(stage.name, 0), slots.get(stage.pool, 0)
            if wanted >= have:
                self._fewer_since.pop(stage.name, None)
            elif now - self._fewer_since.setdefault(stage.name, now) < PATIENCE_S:
                continue
            if wanted != have:
                log.info("%s: %d slots instead of %d", stage.pool, wanted, have)
                self.api.set_pool(stage.pool, wanted, stage.summary)


def main() -> int:
    """Follow until the process is ended."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    here = settings()
    redis_url, password = here.redis_url.get_secret_value(), here.api_password.get_secret_value()
    if not (redis_url and here.api_url and password):
        raise BadRequest("set DARKROOM_REDIS_URL, DARKROOM_API_URL and DARKROOM_API_PASSWORD")
    capacity = Capacity(AirflowApi(here.api_url, here.api_user, password), Fleet(redis_url), STAGES)
    store, beat = open_store(here.store_url), here.home / "run" / "capacity"
    beat.parent.mkdir(parents=True, exist_ok=True)
    plant_id = ""
    while True:
        try:
            plant_id = plant_id or mark(store)
            announce(plant_id, redis_url)
            capacity.follow(time.monotonic())
            beat.touch()
        except DarkroomError as error:
            log.warning("%s", error)
        time.sleep(ROUND_S)


if __name__ == "__main__":
    sys.exit(main())
