"""The lane of this worker: its model server, its host name, its reasons to stop."""

import platform
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from darkroom.chunks.chunk import Lane
from darkroom.errors import ChunkStopped, ServerGone
from darkroom.flows import Stage
from darkroom.live.measures import Measures
from darkroom.live.progress import Progress
from darkroom.orchestration.gate import this_server, why_not_ready, why_stop
from darkroom.serving.client import UNIX, StageClient
from darkroom.settings import settings


@dataclass(frozen=True, slots=True)
class Server:
    """A model server that this worker may feed."""

    url: str
    name: str
    """On this host, such as `generate-1`; empty: it has no supervisor."""

    @classmethod
    def at(cls, url: str) -> "Server":
        """The server at an address: a door has its name, by port this worker knows one only."""
        return cls(url, Path(url).stem if url.startswith(UNIX) else this_server())

    @property
    def by_the_door(self) -> bool:
        """Whether what it is sent goes past its queue."""
        return self.url.startswith(UNIX)


def choose_server(stage: Stage) -> Server:
    """A server of `stage` for a chunk: one that is ready, if any is.

    Raises:
        ServerGone: this worker has no server of the stage.
    """
    urls = settings().server_urls.get(stage.name) or []
    servers = [Server.at(url) for url in ([urls] if isinstance(urls, str) else urls)]
    if not servers:
        raise ServerGone(
            f"this worker takes from the queues of {stage.name} but has no {stage.name} server: "
            'set DARKROOM_SERVER_URLS={"' + stage.name + '": "http://127.0.0.1:PORT"}'
        )
    if len(servers) == 1:
        return servers[0]
    ready = [server for server in servers if not why_not_ready(server.name)]
    return random.choice(ready or servers)  # noqa: S311 - who is chosen is no secret


@contextmanager
def open_lane(stage: Stage, server: Server | None = None) -> Iterator[Lane]:
    """A lane to a server of `stage`, closed at the end.

    Args:
        stage: its row.
        server: as `choose_server` has chosen, which is the default.

    Raises:
        ServerGone: this worker has no server of the stage.
    """
    here, server = settings(), server or choose_server(stage)
    client = StageClient(server.url, stage.deadline_s)
    locks, key = here.home / "run", server.name or urlparse(server.url).port
    try:
        yield Lane(
            client=client,
            # What is told of a host is told of its server, whichever worker fed it.
            host=f"{server.name}@{platform.node()}" if server.by_the_door else here.host or platform.node(),
            progress=Progress(redis_url := here.redis_url.get_secret_value()),
            measures=Measures(redis_url),
            input_roots=here.input_roots,
            grace_s=here.server_grace_s,
            alone_lock=locks / f"alone-{key}.lock",
            # Who waits for his chunk needs no second batch at the door, and bulk shall not lose its turn.
            ahead_lock=None if server.by_the_door else locks / f"ahead-{key}.lock",
            should_stop=lambda: ChunkStopped(why) if (why := why_stop(server.name)) else None,
        )
    finally:
        client.close()
