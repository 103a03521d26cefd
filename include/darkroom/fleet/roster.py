"""The fleet as a person looks at it: each server with how fast it is, and each machine with its servers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from darkroom.live.rates import Rates
from darkroom.serving.status import GpuStatus, ServerStatus, State


@dataclass(frozen=True, slots=True)
class Entry:
    """One server."""

    host: str
    name: str
    stage: str
    model: str
    state: str
    since: float
    """Epoch seconds at which it came into that state."""
    reason: str
    """Why it is not ready."""
    last_end: str
    """Why it was last started anew."""
    starts: int
    """Of its process, since its supervisor started."""
    lanes: int
    device: str
    """Where it computes; empty while it loads."""
    gpu: GpuStatus | None
    seconds_per_item: float | None
    """Of its model's time, as measured lately; None while nothing was."""
    measured_items: int
    """How many items that stands on."""
    memory_mb: int
    memory_limit_mb: int
    canary_s: float | None

    @property
    def is_ready(self) -> bool:
        """Whether it takes chunks."""
        return self.state == State.READY


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of the fleet."""

    host: str
    servers: int
    ready: int
    fenced: int
    lanes: int
    """Of the servers that are ready."""


def roster(servers: Iterable[ServerStatus], rates: Rates) -> list[Entry]:
    """The servers by stage, host and name, with what was measured of each."""
    told = sorted(servers, key=lambda server: (server.stage, server.host, server.name))
    measured = {what: rates.read(*what) for what in {(server.stage, server.model) for server in told}}
    entries = []
    for server in told:
        rate = measured[server.stage, server.model].get(server.worker)
        entries.append(
            Entry(
                host=server.host, name=server.name, stage=server.stage, model=server.model,
                state=server.state.value, since=server.since, reason=server.reason,
                last_end=server.last_end, starts=server.starts, lanes=server.lanes,
                device=server.loaded.device if server.loaded else "", gpu=server.gpu,
                seconds_per_item=round(rate.seconds_per_item, 4) if rate else None,
                measured_items=rate.items if rate else 0, memory_mb=server.memory_mb,
                memory_limit_mb=server.memory_limit_mb, canary_s=server.canary_s,
            )
        )  # fmt: skip
    return entries


def machines(entries: Sequence[Entry]) -> list[Machine]:
    """The machines of these servers, by name: the plant's own, and those that joined."""
    found = []
    for host in sorted({entry.host for entry in entries}):
        here = [entry for entry in entries if entry.host == host]
        ready = [entry for entry in here if entry.is_ready]
        fenced = sum(entry.state == State.FENCED for entry in here)
        found.append(Machine(host, len(here), len(ready), fenced, sum(entry.lanes for entry in ready)))
    return found
