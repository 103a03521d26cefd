"""What one look at the plant costs, with 1,000 lanes and 100 batches, and what a lane's own words do.

`python -m bench.look`, some seconds, over a real Valkey of its own; Airflow's two queries are not in it.
"""

import gzip
import statistics
import tempfile
import time
from pathlib import Path

import redis

from bench.report import save

SERVERS, LANES, BATCHES, CHUNKS, LOOKS, TOLD = 500, 2, 100, 64, 10, 1000


def main() -> None:
    """Fill a Valkey as such a plant does, and look."""
    from tests.servers import valkey_server

    from darkroom.views.stations import Airflow, ChunksNow
    from darkroom.views.survey import Surveyor

    with tempfile.TemporaryDirectory() as folder, valkey_server(Path(folder)) as url:
        chunks = {stage: ChunksNow(500, 0, 500, 0, 0, 5.0, 60.0) for stage in ("generate", "inspect")}
        told_ms = _told_ms(url)
        runs = fill(url)
        surveyor, took_s = Surveyor(url, url), list[float]()
        for _ in range(LOOKS):
            begun = time.process_time(), time.perf_counter()
            seen = surveyor.look(Airflow(runs, chunks))
            looked = time.perf_counter() - begun[1]
            body = seen.model_dump_json()
            took_s.append(time.process_time() - begun[0])
    assert len(seen.batches) == BATCHES and len(seen.servers) == SERVERS
    save("look", {
        "unit": "seconds", "servers": SERVERS, "lanes": SERVERS * LANES, "batches": BATCHES,
        "chunks": 2 * BATCHES * CHUNKS, "cpu, median": round(statistics.median(took_s), 4),
        "last look, wall": round(looked, 4), "bytes of JSON": len(body.encode()),
        "a lane's words, ms": told_ms, "packed": len(gzip.compress(body.encode(), 1)),
    })  # fmt: skip


def _told_ms(url: str) -> dict[str, float]:
    """Milliseconds, the way to Redis included."""
    from darkroom.live.meter import Meter

    meter, found = Meter(url), {}
    for name, tell in {
        "a batch of items": lambda: meter.computed("generate", "b1", 8, 0.8),
        "a chunk": lambda: meter.chunk("generate", 12.0),
        "a picture": lambda: meter.picture(batch_id="b1", custom_id="i", stage="generate"),
    }.items():
        begun = time.perf_counter()
        for _ in range(TOLD):
            tell()
        found[name] = round(1000 * (time.perf_counter() - begun) / TOLD, 3)
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return found


def fill(url: str, *, forget: bool = True) -> dict[str, object]:
    """What such a plant has in Redis; its runs. Servers are forgotten as they tell no more, or never."""
    from darkroom.fleet.servers import Fleet
    from darkroom.flows import STAGES
    from darkroom.live.meter import Meter
    from darkroom.live.progress import ChunkNow, PlanNow, Progress
    from darkroom.live.rates import Rates
    from darkroom.rest.api import Run
    from darkroom.serving.status import ServerStatus, State

    fleet, progress, rates, meter = Fleet(url), Progress(url), Rates(url), Meter(url)
    names = [f"{stage}-{n}" for stage in ("generate", "inspect") for n in range(SERVERS // 2)]
    for number, name in enumerate(names):
        stage = name.partition("-")[0]
        fleet.tell(f"box{number % 100}", ServerStatus(
            name=name, stage=stage, model=STAGES[stage].model, implementation="m:C", state=State.READY,
            lanes=LANES,
        ))  # fmt: skip
        rates.tell(stage, STAGES[stage].model, f"{name}@box{number % 100}", 30, 30.0)
    now, runs = time.time(), {}
    for batch in (f"batch-{n}" for n in range(BATCHES)):
        progress.plan(batch, PlanNow("A_C", 100 * CHUNKS, chunks=CHUNKS))
        runs[batch] = Run(batch, "running", {"batch_id": batch})
        for number in range(CHUNKS):
            for offset, stage in ((0, "generate"), (SERVERS // 2, "inspect")):
                index = offset + hash((batch, number)) % (SERVERS // 2)
                state, done = ("running", 50) if number % 8 == 0 else ("ended", 100)
                progress.report(batch, stage, f"{number:05d}", ChunkNow(
                    100, done, 0, 0, f"{names[index]}@box{index % 100}", state, begun=now - 50, updated=now
                ))  # fmt: skip
        for stage in ("generate", "inspect"):
            meter.computed(stage, batch, 100, 100.0)
    if not forget:
        with redis.Redis.from_url(url) as client:
            for key in client.scan_iter("darkroom:server:*", count=1000):
                client.persist(key)
    return runs


if __name__ == "__main__":
    main()
