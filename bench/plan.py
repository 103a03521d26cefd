"""Seconds and memory of planning 1,000,000 lines: `darkroom plan`, as a process of its own.

`python -m bench.plan [LINES]`. A line has a `custom_id`, a prompt of some 60 characters and empty metadata.
CPU time is the process's own, so other work on the machine lengthens only `seconds`. `rich` lines have
options, a time and metadata as well; the same lines are measured as Parquet, CSV and packed by gzip, too.
"""

import csv
import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import Progress

from bench.report import save

LINES = 1_000_000


def main() -> None:
    """Measure each kind of source."""
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else LINES
    kinds: dict[str, Callable[[Path, int], None]] = {
        "prompts.jsonl": _jsonl,
        "prompts.jsonl.gz": _gzip,
        "prompts.csv": _csv,
        "prompts.parquet": _parquet,
        "rich.jsonl": _rich,
    }
    figures = {}
    bar = Progress(console=Console(stderr=True))
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder, bar as progress:
        for name, write in progress.track(kinds.items(), description="plan"):
            path = Path(folder, name)
            write(path, lines)
            figures[name] = _plan(path)
            path.unlink()
    save("plan", {"lines": lines, "sources": figures})


def _plan(path: Path) -> dict[str, Any]:
    """What the command says, and the CPU time that it took."""
    environment = {**os.environ, "DARKROOM_SOURCE_ROOTS": json.dumps([str(path.parent)])}
    command = [shutil.which("darkroom", path=Path(sys.executable).parent) or "darkroom"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(
        [*command, "plan", str(path), "--flow", "A", "--json"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        **json.loads(ended.stdout),
        "cpu_seconds": round(cpu_s, 2),
        "source_mb": round(path.stat().st_size / 1e6, 1),
    }


def _rows(lines: int) -> Iterator[tuple[str, str]]:
    for n in range(lines):
        yield f"item-{n:07d}", f"a red circle on a white background, soft light, no. {n:07d}"


def _jsonl_text(lines: int) -> Iterator[str]:
    for custom_id, prompt in _rows(lines):
        yield json.dumps({"custom_id": custom_id, "prompt": prompt, "metadata": {}}) + "\n"


def _jsonl(path: Path, lines: int) -> None:
    with path.open("w") as file:
        file.writelines(_jsonl_text(lines))


def _gzip(path: Path, lines: int) -> None:
    with gzip.open(path, "wt", compresslevel=6) as file:
        file.writelines(_jsonl_text(lines))


def _csv(path: Path, lines: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["custom_id", "prompt"])
        writer.writerows(_rows(lines))


def _parquet(path: Path, lines: int) -> None:
    ids, prompts = zip(*_rows(lines), strict=True)
    pq.write_table(pa.table({"custom_id": ids, "prompt": prompts}), path)


def _rich(path: Path, lines: int) -> None:
    more = {"options": {"generate": {"steps": 8}}, "expires_at": "2030-01-01T00:00:00Z"}
    with path.open("w") as file:
        for n, (custom_id, prompt) in enumerate(_rows(lines)):
            item = {"custom_id": custom_id, "prompt": f"é {prompt}", "metadata": {"row": n}, **more}
            file.write(json.dumps(item) + "\n")


if __name__ == "__main__":
    main()
