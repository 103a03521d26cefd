"""Where measurements go: a table on the screen, JSON in `bench/results/`."""

import json
import os
import platform
import timeit
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def save(name: str, figures: dict[str, Any]) -> None:
    """Write the figures with what they were measured on."""
    RESULTS.mkdir(exist_ok=True)
    machine = {
        "cpus": os.cpu_count(), "python": platform.python_version(), "machine": platform.machine(),
        "ten million additions, s": _fastest_s("n += 1", 10_000_000),
        "256 MB of memory touched first, s": _fastest_s("bytearray(2**28)", 1),
    }  # fmt: skip
    record = {"bench": name, "measured": f"{datetime.now(UTC):%Y-%m-%d}", "on": machine, **figures}
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


def _fastest_s(statement: str, times: int) -> float:
    """How fast the machine was just then, so that figures of two days can be set side by side."""
    return round(min(timeit.repeat(statement, "n = 0", number=times, repeat=3)), 3)
