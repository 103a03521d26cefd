"""Ports on loopback: the usual ones, or the next that are free; the same again at the next start."""

import socket
from collections.abc import Mapping

from darkroom.errors import StackError
from darkroom.flows import STAGES

LOOPBACK = "127.0.0.1"
_TRIES = 500
"""Stays below the ephemeral range, from which an outgoing connection could take a port while we restart."""


def usual_ports() -> dict[str, int]:
    """The port each part would like to have."""
    servers = [f"{s.name}-{number}" for s in STAGES.values() for number in range(1, s.servers + 1)]
    return {"api": 8080, "postgres": 5432, "valkey": 6379} | {
        f"server-{name}": 8101 + index for index, name in enumerate(servers)
    }


def choose_ports(usual: Mapping[str, int], remembered: Mapping[str, int]) -> dict[str, int]:
    """A free port for each part: the remembered one, the usual one, or the next above it.

    Raises:
        StackError: hundreds of ports in a row are taken.
    """
    chosen: dict[str, int] = {}
    for name, first in usual.items():
        candidates = [*filter(None, [remembered.get(name)]), *range(first, first + _TRIES)]
        port = next((p for p in candidates if p not in chosen.values() and is_free(p)), None)
        if port is None:
            raise StackError(f"no free port for {name} between {first} and {first + _TRIES}")
        chosen[name] = port
    return chosen


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as probe:
        # As the servers do: connections of the last start that linger in TIME_WAIT don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def answers(port: int, host: str = LOOPBACK) -> bool:
    """Whether somebody listens."""
    with socket.socket() as probe:
        probe.settimeout(1)
        try:
            return probe.connect_ex((host, port)) == 0
        except OSError:  # the name has no address
            return False
