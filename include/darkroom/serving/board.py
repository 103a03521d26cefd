"""Where a supervisor says what its server is doing: a file for its host, and the fleet."""

import logging
import time

from darkroom.fleet.fence import Fence, fence_file
from darkroom.fleet.servers import FenceWish, Fleet
from darkroom.serving.gpu import Gpu
from darkroom.serving.status import GpuStatus, LoadReport, ServerStatus, State, status_file
from darkroom.settings import Settings

log = logging.getLogger("supervisor")


class Board:
    """The status of one server, as told last."""

    def __init__(self, status: ServerStatus, gpu: Gpu | None, here: Settings) -> None:
        """Start with `status`, which nobody is told yet; `gpu` is looked at whenever something is told."""
        self.status = status
        self.fence = Fence(fence_file(here.home, status.name))
        self._gpu, self._drain_marker = gpu, here.drain_marker
        self._file = status_file(here.home, status.name)
        self._fleet = Fleet(here.redis_url.get_secret_value())

    def tell(self, state: State, **changes: str | float | LoadReport | GpuStatus | None) -> None:
        """Tell a state, and what else has changed; of a server that works, whether its lanes take chunks."""
        if state in (State.READY, State.FENCED):
            fenced = self.fence.fenced()
            changes["reason"] = fenced.reason if fenced else ""
            state = State.FENCED if fenced else State.READY
            if self._drain_marker.exists():
                state = State.DRAINING
        now = time.time()
        changes |= {"gpu": self._gpu.look() if self._gpu else None, "state": state, "updated": now}
        since = self.status.since if state is self.status.state else now
        self.status = self.status.model_copy(update={"since": since, **changes})
        try:
            self.status.write(self._file)
        except OSError as error:  # a full disk is no reason to end a server that works
            log.warning("%s: status not written: %s", self.status.name, error)
        if wish := self._fleet.tell(self.status.host, self.status):
            log.info("%s: %s: %s", self.status.name, "fenced" if wish.fenced else "unfenced", wish.reason)
            self._heed(wish)

    def forget(self) -> None:
        """Tell the fleet that the server has gone for good."""
        self._fleet.forget(self.status.host, self.status)

    def _heed(self, wish: FenceWish) -> None:
        """Put up or take down the fence; it is told with the next look."""
        if wish.fenced:
            self.fence.put_up(wish.reason)
        else:
            self.fence.take_down()
