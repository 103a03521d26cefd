"""What orchestration costs: CPU time per item and per chunk; the scheduler's loop and memory.

`python -m bench.orchestration` starts plants of its own in temporary folders, one after the other, whose
stage sleeps: with chunks of 180 items, with chunks of 20 (the difference is what a chunk costs), and with
batches of 256 chunks whose scheduler is looked at. Some ten minutes.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

from bench.loop_times import receiver
from bench.plants import in_a_plant, keep, prompts, up

CHUNK_ITEMS = 180
SMALL_CHUNK_ITEMS = 20
COSTED_ITEMS = 3600
"""20 chunks of 180, 180 of 20."""
ITEM_S = 0.02
SLOW_ITEM_S = 0.25
"""Chunks of 20 then take a server 5 s, and its two lanes twice as long."""
BATCH_CHUNKS = 256
BATCHES = 10
SERVERS = 2
IDLE_S = 20.0
SETTLE_S = 15.0
WINDOW_S = 60.0
_DEADLINE_S = 1200.0
_COST, _LOOP = "cost", "loop"


def main() -> None:
    """Measure all and print what it comes to."""
    from bench.report import save

    large = _plant(_COST, CHUNK_ITEMS, ITEM_S)
    small = _plant(_COST, SMALL_CHUNK_ITEMS, ITEM_S)
    loops = _plant(_LOOP, SMALL_CHUNK_ITEMS, SLOW_ITEM_S)
    save("orchestration", {
        "unit": "CPU seconds without model servers, less those of an idle plant",
        "items": COSTED_ITEMS,
        **per_chunk(large, small),
        f"chunks of {CHUNK_ITEMS}": large,
        f"chunks of {SMALL_CHUNK_ITEMS}": small,
        "scheduler": loops,
    })  # fmt: skip


def per_chunk(large: dict[str, Any], small: dict[str, Any]) -> dict[str, Any]:
    """What a chunk costs, from the same items in few and in many chunks, and so an item of a chunk of 180."""
    chunk_s = (small["CPU, s"] - large["CPU, s"]) / (small["chunks"] - large["chunks"])
    items = large["items"]
    return {
        "per chunk, s": round(chunk_s, 3),
        f"of it per item at {CHUNK_ITEMS}, ms": round(1000 * chunk_s * large["chunks"] / items, 2),
        f"all per item at {CHUNK_ITEMS}, ms": round(1000 * large["CPU, s"] / items, 2),
    }


def _plant(what: str, chunk_items: int, item_s: float) -> dict[str, Any]:
    row = {
        "servers": SERVERS, "lanes_per_server": 2, "batch_size": 4, "seconds_per_item": item_s,
        "config": {"seconds_per_item": item_s},
    }  # fmt: skip
    # The planner rounds the one up and the other down.
    sizes = {
        "DARKROOM_MIN_CHUNK_S": str((chunk_items - 0.5) * item_s),
        "DARKROOM_MAX_CHUNK_S": str((chunk_items + 0.5) * item_s),
    }
    return in_a_plant("bench.orchestration", what, generate=row, deadline_s=_DEADLINE_S, **sizes)


def cost(folder: Path) -> None:
    """The CPU time of one batch in the plant of this environment."""
    from bench.process_costs import cpu_s, used_s
    from darkroom.commands.batches import api, batch_named, start, verified
    from darkroom.commands.connection import DAG_ID

    up()
    _forget_rates()
    session = api()
    session.wait(DAG_ID, start(str(prompts(folder, 40)), "A", "orchestration-warm-up", {}).run_id, 300)
    _forget_rates()
    time.sleep(SETTLE_S)
    before = cpu_s()
    time.sleep(IDLE_S)
    after = cpu_s()
    idle = {part: (after[part] - before.get(part, 0.0)) / IDLE_S for part in after}
    begun, before = time.monotonic(), cpu_s()
    batch = start(str(prompts(folder, COSTED_ITEMS)), "A", "orchestration", {})
    state = session.wait(DAG_ID, batch.run_id, _DEADLINE_S)
    time.sleep(2)  # the last tasks' processes end
    wall_s = time.monotonic() - begun
    used = used_s(before, cpu_s(), idle, wall_s)
    if state != "success" or not verified(batch.batch_id).ok:
        raise SystemExit(f"the batch did not come out right: {state}")
    index = batch_named(batch.batch_id).planned()
    keep(folder, {
        "items": index.items,
        "chunks": len(index.chunk_ids),
        "seconds": round(wall_s, 1),
        "CPU, s": round(sum(used.values()), 2),
        "by part, s": {part: round(seconds, 2) for part, seconds in sorted(used.items())},
        "idle plant, CPU s a second": round(sum(idle.values()), 3),
    })  # fmt: skip


def loop(folder: Path) -> None:
    """The scheduler's loop and memory: idle, with one batch of many chunks, with ten such batches."""
    from darkroom.commands.batches import batch_named, start

    with receiver() as (times, environment):
        os.environ |= environment
        up()
        _forget_rates()
        source = prompts(folder, BATCH_CHUNKS * SMALL_CHUNK_ITEMS)
        figures: dict[str, Any] = {"idle": _window(times)}
        keep(folder, figures)
        started: list[str] = []
        for batches in (1, BATCHES):
            while len(started) < batches:
                _forget_rates()
                started.append(start(str(source), "A", f"orchestration-{len(started)}", {}).batch_id)
            _until_planned([batch_named(batch_id) for batch_id in started])
            chunks = [len(batch_named(batch_id).planned().chunk_ids) for batch_id in started]
            sizes = " to ".join(map(str, sorted({min(chunks), max(chunks)})))
            what = f"{batches} batch{'es' * (batches > 1)} of {sizes} chunks"
            figures[what] = _window(times)
            keep(folder, figures)


def _until_planned(batches: list[Any]) -> None:
    until = time.monotonic() + 180
    while not all(batch.index() for batch in batches):
        if time.monotonic() > until:
            raise SystemExit("the batches were not planned in time")
        time.sleep(0.5)


def _window(times: Any) -> dict[str, float]:
    from bench.process_costs import cpu_s, memory_mb

    time.sleep(SETTLE_S)
    times.clear()
    begun, before = time.monotonic(), cpu_s()["scheduler"]
    most_mb = 0.0
    while (elapsed_s := time.monotonic() - begun) < WINDOW_S:
        most_mb = max(most_mb, memory_mb("scheduler"))
        time.sleep(2)
    used_s = cpu_s()["scheduler"] - before
    return {**times.figures(), "memory, MB": most_mb, "CPU s a second": round(used_s / elapsed_s, 3)}


def _forget_rates() -> None:
    """The stage table decides the chunks' sizes again, not what was measured."""
    import redis

    from darkroom.commands.connection import redis_url

    with redis.Redis.from_url(redis_url()) as server:
        for key in server.scan_iter("darkroom:rates:*"):
            server.delete(key)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        {_COST: cost, _LOOP: loop}[sys.argv[2]](Path(sys.argv[1]))
    else:
        main()
