"""Items per second through A then C with stages that do nothing: chunks, a Celery chain, plain mapping.

`python -m bench.throughput` starts a plant of its own in a temporary folder, with no-op stages, and measures
the three in one run on the same number of worker slots (two for A, two for C). Darkroom's results are durable
files; the chain and the mapping keep nothing.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHUNKED_ITEMS = 20_000
CHAINED_ITEMS = 3000
MAPPED_ITEMS = 60
NOOP = "darkroom.stages.noop:Noop"
REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure the three and print the ratios."""
    from bench.report import save
    from darkroom import stack

    stack.up()
    try:
        _chunked(40)  # warms workers and servers
        chunked = _chunked(CHUNKED_ITEMS)
        chained = _chained(CHAINED_ITEMS)
        mapped = _mapped(MAPPED_ITEMS)
    finally:
        stack.down()
    save("throughput", {
        "items": {"chunks": CHUNKED_ITEMS, "chain": CHAINED_ITEMS, "mapping": MAPPED_ITEMS},
        "unit": "items per second through A then C, no-op stages, 2 + 2 slots",
        "Darkroom, chunks (durable results)": round(chunked, 1),
        "Celery chain per item (no results kept)": round(chained, 1),
        "Airflow mapping, a task instance per item and stage": round(mapped, 2),
        "ratio to Celery chain": round(chunked / chained, 2),
        "ratio to mapping": round(chunked / mapped, 1),
    })  # fmt: skip


def _chunked(items: int) -> float:
    from darkroom.commands.batches import api, start, verified
    from darkroom.rest.api import DAG_ID
    from darkroom.settings import settings

    source = Path(settings().source_roots[0]) / f"bench-{items}.jsonl"
    source.write_text("".join(f'{{"custom_id": "{n}", "prompt": "item {n}"}}\n' for n in range(items)))
    begun = time.monotonic()
    batch = start(str(source), "A_C", f"bench-{items}", {})
    state = api().wait(DAG_ID, batch.run_id, timeout_s=600)
    elapsed = time.monotonic() - begun
    if state != "success" or not verified(batch.batch_id).ok:
        raise SystemExit(f"the batch of {items} items did not come out right: {state}")
    return items / elapsed


def _chained(items: int) -> float:
    from darkroom import stack

    broker = stack.environment()["DARKROOM_REDIS_URL"].rpartition("/")[0] + "/9"
    command = [sys.executable, "-m", "bench.celery_chain", str(items)]
    env = os.environ | {"BENCH_BROKER": broker}
    done = subprocess.run(command, cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def _mapped(items: int) -> float:
    from darkroom.commands.batches import api

    run_id = f"bench-mapped-{int(time.time())}"
    begun = time.monotonic()
    api().trigger("item_flow", run_id, {"items": items})
    if api().wait("item_flow", run_id, timeout_s=900) != "success":
        raise SystemExit("the mapped run failed")
    return items / (time.monotonic() - begun)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder:
        dags = Path(folder) / "dags"
        dags.mkdir()
        for file in [*(REPOSITORY / "dags").glob("*.py"), *(REPOSITORY / "bench" / "dags").glob("*.py")]:
            (dags / file.name).symlink_to(file)
        inputs = Path(folder) / "inputs"
        inputs.mkdir()
        os.environ |= {
            "DARKROOM_HOME": f"{folder}/home",
            "DARKROOM_SOURCE_ROOTS": json.dumps([str(inputs)]),
            "DARKROOM_IMPLEMENTATIONS": json.dumps(dict.fromkeys(("generate", "inspect"), NOOP)),
            "DARKROOM_AIRFLOW_OVERRIDES": json.dumps({"core.dags_folder": str(dags)}),
        }
        main()
