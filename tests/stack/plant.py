"""What the tests of the stack do to it: start batches, wait for them, look at them, kill parts."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from darkroom import stack
from darkroom.commands.batches import api, start
from darkroom.commands.watching import Watched
from darkroom.rest.api import DAG_ID
from darkroom.results.manifest import Summary, current, verify
from darkroom.settings import settings
from darkroom.stack.home import Home
from darkroom.stack.supervisor import Supervisor
from darkroom.store.batches import Batch
from darkroom.store.storage import open_store
from darkroom.views.overview import Overview


def source(name: str, content: str | bytes) -> Path:
    """A file under the stack's allowed root."""
    path = Path(settings().source_roots[-1]) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def started(flow: str, where: str | Path, **params: Any) -> Watched:
    """A batch of its own name, triggered over REST."""
    return start(str(where), flow, f"test-{uuid4().hex[:12]}", params)


def seen() -> Overview:
    """The plant at a look."""
    return Overview.model_validate(api().darkroom("GET", "/api/plant"))


def batch_of(run: Watched) -> Batch:
    return Batch(open_store(settings().store_url), run.batch_id)


def finished(run: Watched, state: str = "success", timeout_s: float = 400) -> tuple[Batch, Summary]:
    """The batch when its run has ended in `state`: verified, every planned item with exactly one row."""
    ended = api().wait(DAG_ID, run.run_id, timeout_s)
    assert ended == state, {ti["task_id"]: ti["state"] for ti in api().task_instances(DAG_ID, run.run_id)}
    batch = batch_of(run)
    report = verify(batch)
    assert report.ok, report.problems
    summary = current(batch)
    assert summary is not None
    return batch, summary


def until(condition: Callable[[], Any], what: str, timeout_s: float = 180) -> Any:
    """The first true value of `condition`.

    Raises:
        AssertionError: it stayed false until the deadline.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(0.3)  # looks cost the plant CPU, too
    return value


def whole(timeout_s: float = 120) -> None:
    """Wait until every part of the stack works."""
    deadline = time.monotonic() + timeout_s
    while ill := [f"{part.name} {part.state}" for part in stack.status() if part.state != "healthy"]:
        assert time.monotonic() < deadline, f"not whole within {timeout_s} s: {', '.join(ill)}"
        time.sleep(0.3)  # looks cost the plant CPU, too


def pid_of(part: str) -> int:
    """The process of a part of the stack that is running; at once, for what is to be killed may end soon."""
    found = Supervisor(Home.current()).processes()[part]
    assert found.pid, f"{part} does not run: {found}"
    return found.pid


def kill_tree(part: str) -> None:
    """SIGKILL a part and all its children, as a machine that loses power does."""
    parent = psutil.Process(pid_of(part))
    for process in [parent, *parent.children(recursive=True)]:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def back(part: str, old_pid: int) -> None:
    """Wait until the supervisor has restarted a part and it works."""

    def restarted() -> bool:
        found = next(status for status in stack.status() if status.name == part)
        return found.pid not in (None, old_pid) and found.state == "healthy"

    until(restarted, f"{part} is back")
