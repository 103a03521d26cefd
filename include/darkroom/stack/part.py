"""One supervised process: what it needs, and how one sees that it works."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Probe = Callable[[float], bool]
"""Whether the part works; takes when its process started, as an epoch."""


@dataclass(frozen=True)
class Part:
    """One supervised process."""

    name: str
    command: tuple[str, ...]
    probe: Probe
    needs: tuple[str, ...] = ()
    """Started when these work."""
    uses: tuple[str, ...] = ()
    """Works only with these, but may start beside them; stopped before them."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    deadline_s: float = 300
    """From its start until it works."""
    stop_signal: str = "TERM"
    stop_wait_s: int = 10
    """Then it is killed, with its process group."""
    user: str = ""
    fails: Callable[[], str] = lambda: ""
    """Why it does not work, where that is known; waiting longer won't help then."""
