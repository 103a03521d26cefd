"""The lane of this worker: its model server, its host name, its reasons to stop."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

from darkroom.chunk import Lane
from darkroom.errors import ServerGone
from darkroom.flows import Stage
from darkroom.progress import Progress
from darkroom.serving.client import StageClient
from darkroom.serving.status import ServerStatus, State
from darkroom.settings import settings


def why_not_ready() -> str:
    """Why this worker's server takes no chunk now; nothing when it does, or has no supervisor."""
    path = settings().server_status
    status = ServerStatus.read(Path(path)) if path else None
    if status is None or status.state is State.READY:
        return ""
    return f"{status.name} is {status.state}" + (f": {status.reason}" if status.reason else "")


@contextmanager
def open_lane(stage: Stage) -> Iterator[Lane]:
    """A lane to the worker's server of `stage`, closed at the end.

    Raises:
        ServerGone: this worker has no server of the stage.
    """
    here = settings()
    url = here.server_urls.get(stage.name)
    if url is None:
        raise ServerGone(
            f"this worker takes from {stage.queue} but has no {stage.name} server: "
            'set DARKROOM_SERVER_URLS={"' + stage.name + '": "http://127.0.0.1:PORT"}'
        )
    client = StageClient(url, stage.deadline_s)
    try:
        yield Lane(
            client=client,
            host=here.host or platform.node(),
            progress=Progress(here.redis_url.get_secret_value()),
            input_roots=here.input_roots,
            grace_s=here.server_grace_s,
            alone_lock=here.home / "run" / f"alone-{urlparse(url).port}.lock",
            ahead_lock=here.home / "run" / f"ahead-{urlparse(url).port}.lock",
            should_stop=lambda: "this host is draining" if here.drain_marker.exists() else None,
        )
    finally:
        client.close()
