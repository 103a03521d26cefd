"""What our side of a model server costs: a stage that does nothing, beside a bare mosec server.

`python -m bench.server_overhead`. Both servers have the same settings and answer with the same bytes; both
are asked by the same code, in short rounds that alternate. A second bare server shows how far two equal
ones differ by chance; a third one gets the memory settings that ours sets for itself. The figures are
percentiles over blocks of rounds, the ratios medians over the blocks.

A lone request waits 10 ms for company at both, which hides what our side costs. So there are also servers
of batch size 1, which do not wait, and 8 clients at once, which fill the batch.
"""

import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import httpx
from rich.console import Console
from rich.progress import Progress

from bench.report import save
from bench.servers import serving
from darkroom.flows import STAGES
from darkroom.serving.client import StageClient
from darkroom.serving.messages import decode_answer, encode_request
from darkroom.serving.server import MALLOC
from darkroom.serving.wire import PATH
from darkroom.stages.base import Request

BODIES = {"100 KB": 100_000, "2 MB": 2_000_000}
CLIENTS = STAGES["generate"].batch_size
BLOCKS = 5
ROUNDS = 6
"""Per block, of each way."""
BARE, OURS, WHOLE = "bare mosec", "Darkroom", "Darkroom, with our client"
AGAIN, TUNED = "bare mosec again", "bare mosec, with our memory settings"


@dataclass(frozen=True)
class Case:
    """Who asks how."""

    name: str
    batch_size: int
    clients: int
    requests: int
    """Per client in a round."""


CASES = (
    Case("one client, no wait for company", 1, 1, 40),
    Case("one client", CLIENTS, 1, 20),
    Case(f"{CLIENTS} clients", CLIENTS, CLIENTS, 6),
)


@dataclass
class Way:
    """One thing that is measured: asks once when called."""

    ask: Callable[[], object]
    blocks: list[list[float]] = field(default_factory=list)

    def percentile(self, percent: int) -> list[float]:
        """Milliseconds, by block."""
        return [1000 * statistics.quantiles(block, n=100)[percent - 1] for block in self.blocks]


def main() -> None:
    """Measure all cases with both bodies."""
    figures: dict[str, Any] = {}
    with Progress(console=Console(stderr=True)) as progress:
        doing = progress.add_task("rounds", total=len(CASES) * len(BODIES) * BLOCKS * ROUNDS)
        for case in CASES:
            for body, size in BODIES.items():
                progress.update(doing, description=f"{case.name}, {body}")
                figures[f"{case.name}, {body}"] = _measure(case, size, lambda: progress.advance(doing))
    save("server_overhead", {"unit": "milliseconds; ratio: median over the blocks", "cases": figures})


def _measure(case: Case, size: int, tick: Callable[[], None]) -> dict[str, Any]:
    row = json.dumps({"generate": {"batch_size": case.batch_size}})
    noop = ("--stage=generate", "--implementation=darkroom.stages.noop:Noop")
    request = Request("item", image=bytes(size), seed=1)
    with ExitStack() as stack:
        bare, again = (
            stack.enter_context(serving("bench.bare_mosec", DARKROOM_STAGES=row)) for _ in range(2)
        )
        ours = stack.enter_context(serving("darkroom.serving.server", *noop, DARKROOM_STAGES=row))
        tuned = stack.enter_context(serving("bench.bare_mosec", DARKROOM_STAGES=row, **MALLOC))
        client = stack.enter_context(StageClient(ours.url, STAGES["generate"].deadline_s))
        ways = {
            BARE: Way(stack.enter_context(_Raw(bare.url, request))),
            OURS: Way(stack.enter_context(_Raw(ours.url, request))),
            AGAIN: Way(stack.enter_context(_Raw(again.url, request))),
            TUNED: Way(stack.enter_context(_Raw(tuned.url, request))),
            WHOLE: Way(lambda: client.run(request)),
        }
        threads = stack.enter_context(ThreadPoolExecutor(case.clients))
        for way in ways.values():  # connections are made and code is warm
            _round(threads, case, way)
        for _ in range(BLOCKS):
            for way in ways.values():
                way.blocks.append([])
            for _ in range(ROUNDS):
                for way in ways.values():
                    way.blocks[-1] += _round(threads, case, way)
                tick()
    return _figures(ways)


class _Raw:
    """Posts bytes that were made beforehand, and looks at nothing but the status."""

    def __init__(self, url: str, request: Request) -> None:
        self._frame = encode_request(request)
        self._http = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def __enter__(self) -> "_Raw":
        decode_answer(self._post())  # both must answer with a whole frame
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def __call__(self) -> None:
        self._post()

    def _post(self) -> bytes:
        return self._http.post(PATH, content=self._frame).raise_for_status().content


def _round(threads: ThreadPoolExecutor, case: Case, way: Way) -> list[float]:
    """Seconds of every request of one round."""

    def ask(_: int) -> list[float]:
        taken = []
        for _ in range(case.requests):
            begun = time.perf_counter()
            way.ask()
            taken.append(time.perf_counter() - begun)
        return taken

    return [seconds for client in threads.map(ask, range(case.clients)) for seconds in client]


def _figures(ways: dict[str, Way]) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for percent in (50, 99):
        values = {name: way.percentile(percent) for name, way in ways.items()}
        base = values[BARE]
        figures[f"p{percent}"] = {name: round(statistics.median(each), 3) for name, each in values.items()}
        figures[f"p{percent} to {BARE}"] = {
            name: _ratio(each, base) for name, each in values.items() if name != BARE
        }
        figures[f"p{percent} of {OURS} to {TUNED}"] = _ratio(values[OURS], values[TUNED])
    return figures


def _ratio(values: list[float], base: list[float]) -> float:
    return round(statistics.median(a / b for a, b in zip(values, base, strict=True)), 3)


if __name__ == "__main__":
    main()
