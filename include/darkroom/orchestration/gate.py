"""The gate before each chunk: whether a model server on this host can take one now, and if not, why.

A chunk that does not pass is put back and spends no try: it is done elsewhere, or here a little later.
"""

import time
from pathlib import Path

from darkroom.fleet.fence import Fence, fence_file
from darkroom.serving.status import ServerStatus, status_file
from darkroom.settings import settings

_SILENT_S = 30.0
"""A supervisor tells every two seconds; one that has been silent for so long has gone, its server with it."""


def why_not_ready(server: str | None = None) -> str:
    """Why a server takes no chunk now; nothing when it does, or has no supervisor.

    Args:
        server: its name on this host, such as `generate-1`; default: the one that this worker's lanes feed.
    """
    if why := why_stop(server):
        return why
    path = status_file(settings().home, server) if server else settings().server_status
    status = ServerStatus.read(Path(path)) if path else None
    if status is None:
        return ""
    if why := status.why_not_ready():
        return why
    silent_s = time.time() - status.updated if status.updated else 0
    return f"{status.name} has told nothing for {silent_s:.0f} s" if silent_s > _SILENT_S else ""


def why_stop(server: str | None = None) -> str:
    """Why a chunk that runs on a server must end at its next item boundary; `server` as above."""
    if settings().drain_marker.exists():
        return "this host is draining"
    name = server or this_server()
    fenced = fence_of(name).fenced() if name else None
    return f"{name} is fenced: {fenced.reason}" if fenced else ""


def this_server() -> str:
    """The name of the server that this worker's lanes feed; empty: it has no supervisor."""
    return Path(settings().server_status).stem


def fence_of(server: str) -> Fence:
    """The fence of a server on this host, by its name: `strike` it, `clear` it."""
    return Fence(fence_file(settings().home, server))
