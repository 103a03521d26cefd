"""Four batches that wait for two servers of C."""

import json
from pathlib import Path
from typing import Any

from darkroom.commands.watching import Watched
from darkroom.orchestration.gate import fence_of
from darkroom.settings import REPOSITORY
from tests.stack.plant import seen, source, started, until

ITEMS = 80
"""Of each batch."""
RED = "a large red circle on a white background"
SERVERS_OF_C = ("inspect-1", "inspect-2")
OPTIONS = {"A_C": {"generate": {"steps": 1}}, "B_C": {"enhance": {"scale": 1, "max_side": 64}}}


def four_batches() -> list[Watched]:
    """Two of A_C and two of B_C, all at C: its servers stood aside until the last of them had come so far."""
    fences = [fence_of(server) for server in SERVERS_OF_C]
    for fence in fences:
        fence.put_up("until all four wait")
    try:
        runs = _started()
        names = {run.batch_id for run in runs}
        until(lambda: names <= _at_c(), "all four wait for C")
    finally:
        for fence in fences:
            fence.take_down()
    return runs


def _at_c() -> set[str]:
    """The batches whose first stage is done with."""
    views = [one.outlook for one in seen().batches]
    return {view.batch_id for view in views if view.stages and view.stages[0].done == ITEMS}


def _started() -> list[Watched]:
    source("plant-view/cat.jpg", (REPOSITORY / "examples/photos/cat.jpg").read_bytes())
    batches = [
        ("A_C", _alike("plant-view/a1", prompt=RED, seed=1)),
        ("A_C", _alike("plant-view/a2", prompt=RED, seed=2)),
        ("B_C", _alike("plant-view/b1", image="cat.jpg")),
        ("B_C", _alike("plant-view/b2", image="cat.jpg")),
    ]
    return [started(flow, where, respins=0, options=OPTIONS[flow]) for flow, where in batches]


def _alike(name: str, **what: Any) -> Path:
    """Items of the same picture, which is made once and judged each time, as each asks for other limits."""
    options = [{"inspect": {"max_nsfw": 0.5 + number / 10_000}} for number in range(ITEMS)]
    lines = [{"custom_id": f"i{n}", "options": one, **what} for n, one in enumerate(options)]
    return source(f"{name}.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
