"""A backfill of 30 days with 20 items each: its wall time over the models' time, and the slots of who waits.

`python -m bench.backfill [DAYS ITEMS]` starts a plant of its own in a temporary folder, whose two servers
sleep half a second an item, backfills the days six at a time, and takes it down again. Some 8 minutes.
"""

import json
import statistics
import sys
import time
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.plants import in_a_plant, keep, up

DAYS, ITEMS = 30, 20
SECONDS_PER_ITEM = 0.5
SERVERS = 2
DAYS_AT_ONCE = 6
_LOOK_EVERY_S = 2.0
_DEADLINE_S = 420


def main(days: int, items: int) -> None:
    """Measure and print."""
    from bench.report import save

    figures = in_a_plant(
        "bench.backfill", str(days), str(items), deadline_s=_DEADLINE_S + 180,
        generate={
            "servers": SERVERS, "batch_size": 4, "seconds_per_item": SECONDS_PER_ITEM,
            "config": {"seconds_per_item": SECONDS_PER_ITEM},
        },
        DARKROOM_DAILY=json.dumps({
            "source": "{day}.jsonl", "flow": "A", "wait_h": 0, "missing": "skip",
            "days_at_once": DAYS_AT_ONCE,
        }),
    )  # fmt: skip
    save("backfill", {
        "days": days, "items a day": items, "seconds per item": SECONDS_PER_ITEM, "servers": SERVERS,
        "days at once": DAYS_AT_ONCE, **figures,
    })  # fmt: skip


def measure(folder: Path, days: int, items: int) -> None:
    """Backfill the days in the plant of this environment."""
    from darkroom.commands.connection import api
    from darkroom.rest.backfill import Backfill
    from darkroom.settings import settings

    daily = settings().daily
    assert daily is not None
    last = daily.last_due(datetime.now(UTC)) - timedelta(days=1)  # the day after is the schedule's
    wanted = [last - timedelta(days=n) for n in reversed(range(days))]
    for day in wanted:
        _partition(folder, day, items)
    up()
    asked = Backfill(api(), daily, wanted[0], wanted[-1])
    begun = time.monotonic()
    asked.start()
    looks: list[dict[str, int]] = []
    while True:
        states = Counter(asked.states(wanted).values())
        wall_s = time.monotonic() - begun
        print(f"{wall_s:.0f} s: {dict(states)}", flush=True)
        if states["success"] + states["failed"] == days or wall_s > _DEADLINE_S:
            break
        looks.append(_slots())
        time.sleep(_LOOK_EVERY_S)
    model_s = days * items * SECONDS_PER_ITEM
    keep(folder, {
        "states": dict(states), "wall, s": round(wall_s, 1), "model time, s": model_s,
        "wall / model time": round(wall_s / model_s, 3),
        "wall / model time of both servers": round(wall_s * SERVERS / model_s, 3), **_told(looks),
    })  # fmt: skip


def _partition(folder: Path, day: date, items: int) -> None:
    lines = [json.dumps({"custom_id": f"{day}-{n}", "prompt": f"item {n} of {day}"}) for n in range(items)]
    (folder / "inputs" / f"{day}.jsonl").write_text("\n".join(lines))


def _slots() -> dict[str, int]:
    """How many tasks of `daily_flow` hold a slot now, by name, and how many wait without one."""
    from darkroom.commands.connection import api

    path = "/api/v2/dags/daily_flow/dagRuns/~/taskInstances"
    query = {"state": ["running", "queued", "deferred"], "limit": 100}
    found = api().call("GET", path, params=query)["task_instances"]
    holding = Counter(ti["task_id"] for ti in found if ti["state"] != "deferred")
    return {**holding, "waiting": sum(ti["state"] == "deferred" for ti in found)}


def _told(looks: list[dict[str, int]]) -> dict[str, Any]:
    """Over all looks: days that waited, and the slots that tasks of `daily_flow` held."""
    names = ("wait_for_partition", "start", "wait", "publish")
    held = [sum(look.get(name, 0) for name in names) for look in looks]
    return {
        "looks": len(looks),
        "days waiting for their work, mean": round(statistics.mean(look["waiting"] for look in looks), 2),
        "slots held by daily_flow, mean": round(statistics.mean(held), 2),
        "slots held by daily_flow, most": max(held),
        "of these by wait, mean": round(statistics.mean(look.get("wait", 0) for look in looks), 2),
    }


if __name__ == "__main__":
    if len(sys.argv) > 3:
        measure(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    else:
        main(*(map(int, sys.argv[1:]) if len(sys.argv) > 1 else (DAYS, ITEMS)))
