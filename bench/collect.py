"""Collect and verify a batch of a million items: time and memory of each step, in a process of its own.

    python -m bench.collect            # a million rows without pictures, 20,000 with
    python -m bench.collect 100000

The batch is made by hand: a plan of the real planner's chunks, flow A_C, parts of both stages with rows as
chunks write them; of a thousand items 5 are rejected and come again in a respin round, 2 are failed, and 3
look like an earlier one. What is timed are the real `collect`, `leftovers`, `render` and `verify`.
"""

import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import report
from darkroom.plans.planning import chunk_sizes, seed_for
from darkroom.records import BatchRequest, PlannedItem
from darkroom.results.contact_sheet import render
from darkroom.results.manifest import collect, current, verify
from darkroom.results.outcomes import leftovers
from darkroom.store.batches import Batch, Index, chunk_id, image_path
from darkroom.store.plan_table import write_plan
from darkroom.store.result_table import table_bytes, table_of
from darkroom.store.storage import open_store, sha256
from darkroom.store.tables import json_text

N_ITEMS = 1_000_000
N_WITH_PICTURES = 20_000
_COLOURS = ("red", "green", "blue", "yellow", "black", "white")
_HOSTS = tuple(f"generate-1@host{n}" for n in range(10))


def make(folder: Path, n_items: int, pictures: bool) -> Batch:
    """A batch whose chunks are all done, and one respin round of what was rejected."""
    store = open_store(folder.as_uri())
    batch = Batch(store, "bench")
    batch.save_request(BatchRequest(flow="A_C", source="bench.jsonl", batch_id="bench"))
    batch.store.create(batch.rejects_path, b"")
    sizes = chunk_sizes(n_items, servers=10, cap_items=175)
    rejected = _round(batch, 0, sizes, range(n_items), pictures)
    _round(batch, 1, chunk_sizes(len(rejected), servers=10, cap_items=175), rejected, pictures)
    return batch


def _round(
    batch: Batch, number: int, sizes: Sequence[int], items: Sequence[int], pictures: bool
) -> list[int]:
    """Plan a round and write its parts; the items that it rejects."""
    names = [chunk_id(n, f"r{number}" if number else "") for n in range(len(sizes))]
    rejected: list[int] = []
    begin = 0
    for name, size in zip(names, sizes, strict=True):
        chunk = items[begin : begin + size]
        begin += size
        planned = [
            PlannedItem.model_construct(
                custom_id=f"item-{n:07d}", prompt=_prompt(n), image=None, width=None, height=None, options={},
                expires_at=None, metadata={"order": n}, seed=seed_for("bench", str(n), number), respin=number,
            )
            for n in chunk
        ]  # fmt: skip
        file = io.BytesIO()
        write_plan(file, planned)
        batch.store.create(batch.plan_chunk_path(name), file.getvalue())
        rows = [_row(batch, item, n, number, pictures) for item, n in zip(planned, chunk, strict=True)]
        rejected += [n for n, row in zip(chunk, rows, strict=True) if row["status"] == "rejected"]
        _save_part(batch, "inspect", name, rows)
        _save_part(batch, "generate", name, [_generated(row) for row in rows])
    index = Index(round=number, flow="A_C", chunk_ids=names, sizes=list(sizes), items=len(items))
    batch.save_index(index)
    return rejected


def _prompt(n: int) -> str:
    return f"a large {_COLOURS[n % 6]} circle above a small {_COLOURS[n // 6 % 6]} square, number {n}"


def _row(batch: Batch, item: PlannedItem, n: int, number: int, pictures: bool) -> dict[str, Any]:
    """An item's final row in its part of `inspect`."""
    look = hashlib.sha256(f"{n - n % 1000 if n % 1000 in (7, 8, 9) else n} {number}".encode()).hexdigest()
    path = image_path("generate", look[:40])
    data = _picture(look) if pictures else b""
    if pictures:
        batch.store.create(path, data)
    row: dict[str, Any] = {
        "custom_id": item.custom_id, "status": "completed", "flow": "A_C", "image_uri": batch.store.uri(path),
        "sha256": sha256(data) if pictures else look, "bytes": len(data) or 5000 + n % 900, "width": 64,
        "height": 64, "seed": item.seed, "attempts": 2, "seconds": round(10.4 + n % 97 / 100, 4),
        "host": _HOSTS[n % 10], "model": "shapes-flow-64@f289156f", "metadata": json_text(item.metadata),
        "schema_version": 1,
    }  # fmt: skip
    told = {
        "generate": (_HOSTS[n % 10], "shapes-flow-64@f289156f", 10.3 + n % 97 / 100, 9.8 + n % 97 / 100),
        "inspect": (f"inspect-1@host{n % 10}", "open-nsfw@2016+metrics@1", 0.1, 0.08),
    }
    stages = {
        stage: {
            "host": host, "model": model, "seconds": round(seconds, 4), "attempts": 1,
            "busy_s": round(busy_s, 4),
        }
        for stage, (host, model, seconds, busy_s) in told.items()
    }  # fmt: skip
    if n % 1000 in (1, 2):
        row |= dict.fromkeys(("image_uri", "sha256", "bytes", "width", "height"))
        row |= {"status": "failed", "error": {"code": "stage_failed", "message": "it would not"}}
        row["details"] = json_text({"stages": {"generate": {**stages["generate"], "attempts": 3}}})
        return row
    is_rejected = number == 0 and n % 200 == 3
    checks = {
        "width": 64, "height": 64, "nsfw": round(n % 991 / 1e5, 5), "sharpness": round(100 + n % 997 / 7, 2),
        "contrast": round(40 + n % 101 / 3, 2), "entropy": 4.432, "phash": look[:16], "caption_checked": True,
        "background": {"expected": "white", "found": "white"},
        "colours": {"expected": [_COLOURS[n % 6]], "found": [_COLOURS[n % 6]]},
    }  # fmt: skip
    reasons = ["colour"] if is_rejected else []
    row["verdict"] = {"accepted": not is_rejected, "reasons": reasons, "checks": json_text(checks)}
    row["status"] = "rejected" if is_rejected else "completed"
    row["details"] = json_text({"unknown_words": [], "stages": stages})
    return row


def _generated(row: dict[str, Any]) -> dict[str, Any]:
    """The row before `inspect` saw it."""
    status = "failed" if row["status"] == "failed" else "completed"
    return {name: value for name, value in row.items() if name != "verdict"} | {"status": status}


def _picture(look: str) -> bytes:
    from PIL import Image

    data = io.BytesIO()
    Image.frombytes("RGB", (16, 16), hashlib.shake_256(look.encode()).digest(768)).save(data, "PNG")
    return data.getvalue()


def _save_part(batch: Batch, stage: str, name: str, rows: list[dict[str, Any]]) -> None:
    batch.store.create(batch.part_path(stage, name), table_bytes(table_of(rows)))


def step(name: str, url: str) -> None:
    """One step, in this process; its figures as JSON on standard output."""
    batch = Batch(open_store(url), "bench")
    begun, cpu = time.perf_counter(), time.process_time()
    told: dict[str, Any] = {}
    if name == "collect":
        told["items"] = collect(batch).items
    elif name == "leftovers":
        told["left"] = sum(1 for _ in leftovers(batch))
    elif name == "render":
        summary = current(batch)
        assert summary is not None
        render(batch, summary)
    else:
        found = verify(batch, pictures=name == "verify with pictures")
        assert found.ok, found.problems
        told |= {"rows": found.rows, "images": found.images, "rows_per_s": round(found.rows_per_s)}
    figures = {
        "seconds": round(time.perf_counter() - begun, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "load_average": round(os.getloadavg()[0], 1),  # of all that the machine was doing: slows both times
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps({**figures, **told}))


def _in_a_process(name: str, url: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.collect", "--step", name, url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(f"{name}: {figures}", file=sys.stderr)
    return figures


def measure(n_items: int, pictures: bool) -> dict[str, Any]:
    """All steps on a batch of `n_items`."""
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as name:
        folder = Path(name)
        begun = time.perf_counter()
        batch = make(folder, n_items, pictures)
        print(f"{n_items} items made in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
        return measure_steps(batch, folder, pictures)


def measure_steps(batch: Batch, folder: Path, pictures: bool) -> dict[str, Any]:
    """The steps, each in a process of its own; at their end the manifest is complete and true."""
    n_items = batch.planned().items
    steps = ["collect", "leftovers", "render", "verify with pictures" if pictures else "verify"]
    figures = {name: _in_a_process(name, folder.as_uri()) for name in steps}
    summary = current(batch)
    assert summary is not None
    assert summary.items == figures[steps[-1]]["rows"] == n_items
    sizes_mb = {
        name: round(batch.store.size(batch.store.path(uri)) / 1e6, 1) for name, uri in summary.uris.items()
    }
    return {
        "items": n_items, "chunks": len(batch.planned().chunk_ids), "rounds": 2, "summary": str(summary),
        "sizes_mb": sizes_mb, **figures,
    }  # fmt: skip


def main(n_items: int = N_ITEMS) -> None:
    """Measure and save."""
    many = measure(n_items, pictures=False)
    with_pictures = measure(min(n_items, N_WITH_PICTURES), pictures=True)
    report.save("collect", {"many": many, "with_pictures": with_pictures})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        step(sys.argv[2], sys.argv[3])
    else:
        main(*map(int, sys.argv[1:2]))
