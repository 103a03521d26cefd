"""Ports on loopback: the usual ones, or the next that are free; the same again at the next start."""

import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

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


@contextmanager
def claimed_ports(usual: Mapping[str, int], remembered: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """A free port for each part: the remembered one, the usual one, or the next above it.

    Within the block nobody else is given one of them, so it has to last until the parts listen: two plants
    may be started in the same second.

    Raises:
        StackError: hundreds of ports in a row are taken.
    """
    with ExitStack() as claims:
        chosen: dict[str, int] = {}
        for name, first in usual.items():
            candidates = [*filter(None, [remembered.get(name)]), *range(first, first + _TRIES)]
            for port in candidates:
                if claim := _claim(port):
                    claims.enter_context(claim)
                    chosen[name] = port
                    break
            else:
                raise StackError(f"no free port for {name} between {first} and {first + _TRIES}")
        yield chosen


def _claim(port: int) -> socket.socket | None:
    """What keeps the port for us while it is open; None: somebody listens there, or has claimed it.

    An abstract socket: as a port, it is one for all users of a network namespace, and it ends with its
    process, however that ends. Source: unix(7).
    """
    claim = socket.socket(socket.AF_UNIX)
    with suppress(OSError):
        claim.bind(f"\0darkroom-port-{port}")
        if is_free(port):  # asked in this order: who had claimed it before may listen by now
            return claim
    claim.close()
    return None


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
