"""Which servers of the fleet take chunks: those that are ready, and those that are only restarting.

A server that dies and comes back within `PATIENCE_S` never left: what waits for it needs no second way round.
One that takes longer takes no more chunks, but counts as long as those that it had wait for it: they hold
slots, and the other servers need as many. One that is fenced takes nothing from then on, until it is ready
again.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from darkroom.serving.status import ServerStatus, State

PATIENCE_S = 20.0
"""Longer than a restart takes."""
_SHRINK_S = 15.0
"""So long before chunks give way the pool has shrunk: their slots would be given to chunks without a lane."""
_RESTARTING = (State.LOADING, State.WAITING)
_FORGET_S = 600.0
"""Who was not seen for so long is asked for no more."""


@dataclass
class _Seen:
    status: ServerStatus
    """As it was last seen."""
    at: float
    trusted_until: float
    """Until then it takes chunks, whatever it does meanwhile."""
    ready_at: float = -math.inf
    """When last; who never was may be brought chunks by its worker, but no pool counts on it."""


@dataclass
class Presence:
    """The servers that were seen. All times are monotonic seconds."""

    grace_s: float
    """How long a chunk waits for a server that is restarting."""
    _servers: dict[str, _Seen] = field(default_factory=dict)
    _since: float | None = None
    _looked: float = 0.0

    def see(self, servers: Iterable[ServerStatus], now: float) -> None:
        """Take in what the fleet tells."""
        if self._since is None:
            self._since = now
            for one in self._servers.values():
                if self._looked < one.trusted_until:  # nobody is blamed for what could not be seen
                    one.trusted_until = now + PATIENCE_S
        self._looked = now
        for status in servers:
            one = self._servers.setdefault(status.worker, _Seen(status, now, now + PATIENCE_S))
            one.status, one.at = status, now
            if status.state is State.READY:
                one.ready_at, one.trusted_until = now, now + PATIENCE_S
            elif status.state is State.FENCED:
                one.ready_at, one.trusted_until = -math.inf, now
        self._servers = {name: one for name, one in self._servers.items() if now - one.at < _FORGET_S}

    def blink(self) -> None:
        """The fleet could not be asked."""
        self._since = None

    def knows_who_is_missing(self) -> bool:
        """Whether it has looked for so long that a server which nobody told of is not there."""
        return self._since is not None and self._looked - self._since >= PATIENCE_S

    def counting(self) -> list[ServerStatus]:
        """The servers that make up the fleet's capacity, as of the last look."""
        was_ready = [one for one in self._servers.values() if one.ready_at > -math.inf]
        return [one.status for one in was_ready if self._takes(one) or self._is_waited_for(one)]

    def taking(self) -> list[tuple[ServerStatus, bool]]:
        """Each server that was seen, and whether chunks shall be taken to it."""
        return [(one.status, self._takes(one)) for one in self._servers.values()]

    def _takes(self, one: _Seen) -> bool:
        return self._looked < one.trusted_until

    def _is_waited_for(self, one: _Seen) -> bool:
        restarts = one.at == self._looked and one.status.state in _RESTARTING
        return restarts and self._looked < one.ready_at + self.grace_s - _SHRINK_S
