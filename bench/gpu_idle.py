"""How much of the time a model server computes: chunks back to back, two lanes and one.

`python -m bench.gpu_idle` starts a plant of its own in a temporary folder for each, with a stage that does
nothing for 200 ms a batch, and reads from the server's trace when it was at it. The time counts from the
begin of the first batch to the end of the last. Scheduler, workers, store: all real.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

BATCH_SIZE = 8
BATCH_S = 0.2
CHUNK_S = 10.0
"""Of computing; with two lanes a chunk takes twice as long."""
CHUNKS = 8
LONG_GAP_S = 0.05
NOOP = "darkroom.stages.noop:Noop"
REPOSITORY = Path(__file__).resolve().parents[1]
RESULT = "idle.json"


def main() -> None:
    """Measure both and print the shares."""
    from bench.report import save

    figures = {f"{lanes} lane{'s' * (lanes > 1)}": _in_a_plant(lanes) for lanes in (2, 1)}
    unit = f"share of the time in which the server computes, {BATCH_S * 1000:g} ms a batch"
    save("gpu_idle", {"unit": unit, "chunks": CHUNKS, **figures})


def _in_a_plant(lanes: int) -> Any:
    seconds_per_item = BATCH_S / BATCH_SIZE
    row = {"batch_size": BATCH_SIZE, "seconds_per_item": seconds_per_item, "lanes_per_server": lanes}
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        inputs = Path(folder) / "inputs"
        inputs.mkdir()
        environment = os.environ | {
            "DARKROOM_HOME": f"{folder}/home",
            "DARKROOM_SOURCE_ROOTS": json.dumps([str(inputs)]),
            "DARKROOM_IMPLEMENTATIONS": json.dumps(dict.fromkeys(("generate", "enhance", "inspect"), NOOP)),
            "DARKROOM_STAGES": json.dumps({"generate": row}),
            "DARKROOM_NOOP_MS": str(1000 * seconds_per_item),
            "DARKROOM_MIN_CHUNK_S": str(CHUNK_S),
            "DARKROOM_MAX_CHUNK_S": str(CHUNK_S),
            "DARKROOM_TRACE": f"{folder}/trace",
        }
        subprocess.run(
            [sys.executable, "-m", "bench.gpu_idle", folder], cwd=REPOSITORY, env=environment, check=True
        )
        if keep := os.environ.get("BENCH_KEEP_TRACE"):
            shutil.copytree(f"{folder}/trace", f"{keep}/{lanes}", dirs_exist_ok=True)
        return json.loads((Path(folder) / RESULT).read_text())


def measure(folder: Path) -> None:
    """Run the batch in the plant of this environment and write down what its server did meanwhile."""
    from darkroom import stack

    stack.up()
    try:
        begun = time.time()
        _run(folder / "inputs" / "items.jsonl", CHUNKS * round(CHUNK_S / BATCH_S) * BATCH_SIZE)
    finally:
        stack.down()
    lines = [line for file in (folder / "trace").glob("generate-*") for line in file.read_text().splitlines()]
    batches = sorted(json.loads(line) for line in lines)
    # A canary is a batch of one; so is what a lane has left at the end of a chunk, at worst.
    full = [(start, end) for start, end, items in batches if start > begun and items > 1]
    (folder / RESULT).write_text(json.dumps(_figures(full)))


def _run(source: Path, items: int) -> None:
    from darkroom.commands.batches import api, start, verified
    from darkroom.rest.api import DAG_ID

    source.write_text("".join(f'{{"custom_id": "{n}", "prompt": "item {n}"}}\n' for n in range(items)))
    batch = start(str(source), "A", "bench-idle", {})
    state = api().wait(DAG_ID, batch.run_id, timeout_s=600)
    if state != "success" or not verified(batch.batch_id).ok:
        raise SystemExit(f"the batch did not come out right: {state}")


def _figures(batches: list[tuple[float, float]]) -> dict[str, Any]:
    span_s = batches[-1][1] - batches[0][0]
    gaps_s = [after[0] - before[1] for before, after in pairwise(batches)]
    long_s = [gap for gap in gaps_s if gap > LONG_GAP_S]
    return {
        "computing": round(sum(end - start for start, end in batches) / span_s, 4),
        "seconds": round(span_s, 1),
        "batches": len(batches),
        "median gap, ms": round(1000 * statistics.median(gaps_s), 2),
        f"share of gaps up to {LONG_GAP_S * 1000:g} ms": round((sum(gaps_s) - sum(long_s)) / span_s, 4),
        "share of longer gaps": round(sum(long_s) / span_s, 4),
        "longer gaps": len(long_s),
    }


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(Path(sys.argv[1]))
    else:
        main()
