"""A plant at work, as its servers and chunks tell of it in Redis."""

import time

from darkroom.fleet.servers import Fleet
from darkroom.flows import STAGES
from darkroom.live.progress import ChunkNow, PlanNow, Progress
from darkroom.live.rates import Rates
from darkroom.rest.api import Run
from darkroom.serving.status import ServerStatus, State
from darkroom.views.stations import Airflow, ChunksNow


def status(stage: str, state: State = State.READY, name: str = "") -> ServerStatus:
    return ServerStatus(
        name=name or f"{stage}-1", stage=stage, model="m@1", implementation="m:M", state=state, lanes=2
    )


def server(url, name, state=State.READY, lanes=1, **more):
    stage = name.partition("-")[0]
    status = ServerStatus(
        name=name, host="box", stage=stage, model=STAGES[stage].model, implementation="m:C", state=state,
        lanes=lanes, **more,
    )  # fmt: skip
    Fleet(url).tell("box", status)


def chunk(items, done, host, state="running", begun_s=30.0, **more):
    now = time.time()
    return ChunkNow(items, done, 0, 0, host, state, begun=now - begun_s, updated=now, **more)


def running(*names, flow="A_C"):
    return {name: Run(name, "running", {"batch_id": name, "flow": flow}) for name in names}


def two_batches(url):
    """Two batches at two inspect servers: 100 items generated, 40 inspected, 20 in their two chunks."""
    for name in ("generate-1", "inspect-1", "inspect-2"):
        server(url, name)
        Rates(url).tell(name.partition("-")[0], STAGES[name.partition("-")[0]].model, f"{name}@box", 30, 30.0)
    for name in ("b1", "b2"):
        Progress(url).plan(name, PlanNow("A_C", 100, chunks=10))
        Progress(url).report(name, "generate", "00000", chunk(50, 50, "generate-1@box", "ended"))
        Progress(url).report(name, "inspect", "00000", chunk(20, 20, f"inspect-{name[1]}@box", "ended"))
        Progress(url).report(name, "inspect", "00001", chunk(20, 10, f"inspect-{name[1]}@box"))
    return Airflow(
        running("b1", "b2"),
        {"inspect": ChunksNow(scheduled=3, queued=0, running=2, waited_s=4.0, longest_s=9.0)},
    )
