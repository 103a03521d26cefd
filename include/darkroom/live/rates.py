"""How long each host takes for an item, measured while it works: a moving average in Redis.

Key `darkroom:rates:{stage}:{model}`, a hash: field host = JSON `[busy_s, items, all_items, updated]`. The
first two fade with the work that comes after them, by a time constant of `MEMORY_S` busy seconds; their
ratio is the average. Losing it costs the next plan its better guess, until somebody has worked again.
"""

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass

from darkroom.live.connection import InRedis

MEMORY_S = 300.0
"""Of work, not of the clock: a host that pauses forgets nothing."""
KEEP_S = 30 * 24 * 3600
SILENT_S = 24 * 3600
"""Who has told nothing for so long does not count."""
PREFIX = "darkroom:rates:"

# Several lanes tell of one host, and none may undo what another told: Redis runs a script at one go.
_TELL = """
local before = redis.call('HGET', KEYS[1], ARGV[1])
local busy, items, all = 0, 0, 0
if before then
  local told = cjson.decode(before)
  busy, items, all = told[1], told[2], told[3]
end
local fade, weight = tonumber(ARGV[2]), tonumber(ARGV[3])
local new = {
  busy * fade + weight, items * fade + weight / tonumber(ARGV[4]), all + tonumber(ARGV[5]), tonumber(ARGV[6])
}
redis.call('HSET', KEYS[1], ARGV[1], string.format('[%.9g,%.9g,%.0f,%.3f]', unpack(new)))
redis.call('EXPIRE', KEYS[1], ARGV[7])
"""


@dataclass(frozen=True, slots=True)
class HostRate:
    """What one server was measured to take."""

    seconds_per_item: float
    items: int
    """On how many items the measurement stands."""
    updated: float
    """Epoch seconds."""


class Rates(InRedis):
    """Measured rates of the fleet; an empty URL keeps none. A Redis that is down fails nobody."""

    def tell(self, stage: str, model: str, host: str, items: int, busy_s: float) -> None:
        """Say that `host` has computed `items` of `stage` in `busy_s` of its model's time.

        Only what was computed counts, so leave out items whose picture existed already.
        """
        if items < 1 or busy_s <= 0:
            return
        fade, weight = faded(busy_s)
        arguments = (host, fade, weight, busy_s / items, items, time.time(), KEEP_S)
        self._write(lambda pipe: pipe.eval(_TELL, 1, _key(stage, model), *arguments), "a rate")

    def read(self, stage: str, model: str) -> dict[str, HostRate]:
        """The rates of all hosts that told one lately, by host."""
        key, nothing = _key(stage, model), dict[str, str]()
        told = self._ask(lambda server: server.hgetall(key), nothing, "the rates")
        return read_rates(told, time.time())


def faded(busy_s: float) -> tuple[float, float]:
    """By which factor what is known fades when `busy_s` of work are told, and the weight of these.

    A short piece of work weighs its seconds, a long one `MEMORY_S` at most: what it says of the time
    before its own last minutes is as old as what it replaces.
    """
    fade = math.exp(-busy_s / MEMORY_S)
    return fade, MEMORY_S * (1 - fade)


def read_rates(told: Mapping[str, str], now: float) -> dict[str, HostRate]:
    """The hash as rates, without the hosts that were silent too long."""
    rates = {}
    for host, text in told.items():
        busy_s, items, all_items, updated = json.loads(text)
        if now - updated <= SILENT_S and items > 0:
            rates[host] = HostRate(busy_s / items, int(all_items), updated)
    return rates


def _key(stage: str, model: str) -> str:
    return f"{PREFIX}{stage}:{model}"
