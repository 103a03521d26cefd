"""A server whose chunks fail by its host's own fault takes none for a while: its fence, a file on the host.

A broken machine fails fast, comes back for more, and would eat the whole batch. So two failures in a row
fence a server; each further fence without a chunk in between that went well lasts twice as long. Its lanes
look at the fence before each chunk, its supervisor lifts it.
"""

import fcntl
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field

from darkroom.errors import DarkroomError, ServerBusy
from darkroom.serving.status import Told

STRIKES = 2
"""Failures in a row that fence a server: one may be bad luck."""
FIRST_FENCE_S, LONGEST_FENCE_S = 30.0, 900.0

log = logging.getLogger(__name__)


class Fenced(Told):
    """A fence as it stands."""

    reason: str
    strikes: int
    """Failures in a row, when it was put up; 0: by hand."""
    since: float
    """Epoch seconds."""
    until: float | None
    """Epoch seconds before which it is not lifted; None: put up by hand, and lifted by hand only."""


class _Record(Told):
    strikes: int = Field(default=0, ge=0)
    fences: int = Field(default=0, ge=0)
    """In a row, without a chunk in between that went well."""
    fenced: Fenced | None = None


def fence_s(fences: int) -> float:
    """How long a server stays fenced that was fenced so often before, in a row."""
    # A server that is broken for weeks would overflow it.
    return min(FIRST_FENCE_S * (1 << min(fences, 16)), LONGEST_FENCE_S)


def is_hosts_fault(error: BaseException) -> bool:
    """Whether an error that ended a chunk speaks against the host it ran on, and so is a strike."""
    if isinstance(error, DarkroomError):
        # A full queue is no failure: somebody else has work there.
        return error.fault == "host" and not isinstance(error, ServerBusy)
    # No room left, no file of its own, no memory: whatever it was, our code did not expect it here.
    return isinstance(error, OSError | MemoryError)


class Fence:
    """The fence of one model server; safe to use from all its lanes and its supervisor at once."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        """The fence in the file `path`, see `fence_file`; `now` in epoch seconds."""
        self._path, self._now = path, now

    def fenced(self) -> Fenced | None:
        """The fence, if it stands. One look at a file, for every chunk."""
        return self._read().fenced

    def strike(self, reason: str) -> Fenced | None:
        """Count a failure that was the host's fault; the second in a row fences. The fence, if it stands."""

        def struck(record: _Record) -> _Record:
            strikes, now = record.strikes + 1, self._now()
            if record.fenced is not None or strikes < STRIKES:
                return record.model_copy(update={"strikes": strikes})
            until = now + fence_s(record.fences)
            fenced = Fenced(reason=reason, strikes=strikes, since=now, until=until)
            return _Record(strikes=strikes, fences=record.fences + 1, fenced=fenced)

        return self._change(struck).fenced

    def clear(self) -> None:
        """A chunk went well: what was counted is forgotten.

        A chunk that ends while the server is fenced began before, and lifts nothing.
        """
        record = self._read()
        if record.fenced is None and (record.strikes or record.fences):
            self._change(lambda record: record if record.fenced else _Record())

    def lift(self, asked: float) -> bool:
        """Lift the fence if its time is over and a canary asked since, at epoch `asked`, was answered.

        The next failure fences again, for longer: only a chunk that goes well shows that the host is cured.
        """
        lifted = False

        def lift(record: _Record) -> _Record:
            nonlocal lifted
            fenced = record.fenced
            if fenced is None or fenced.until is None:
                return record
            # The clock may have been set back: a fence must not last for the difference.
            lifted = asked >= fenced.until or self._now() < fenced.since
            return record.model_copy(update={"strikes": STRIKES - 1, "fenced": None}) if lifted else record

        if self.fenced() is not None:
            self._change(lift)
        return lifted and self.fenced() is None

    def put_up(self, reason: str) -> Fenced:
        """Fence by hand: it stands until `take_down`."""
        fenced = Fenced(reason=reason, strikes=0, since=self._now(), until=None)
        self._change(lambda record: record.model_copy(update={"fenced": fenced}))
        return fenced

    def take_down(self) -> bool:
        """Lift the fence by hand and forget what was counted; whether it stood."""
        stood = self.fenced() is not None
        self._change(lambda _: _Record())
        return stood

    def _read(self) -> _Record:
        return _Record.read(self._path) or _Record()

    def _change(self, how: Callable[[_Record], _Record]) -> _Record:
        try:
            with self._lock():
                record = how(before := self._read())
                if record != before:
                    record.write(self._path)
        except OSError as error:  # a full disk: the chunk that failed has a reason of its own to tell
            log.warning("%s: the fence was not written: %s", self._path.stem, error)
            return self._read()
        return record

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # gone with the process that held it
            yield


def fence_file(home: Path, name: str) -> Path:
    """Where the fence of a server lies, below the state folder of its host."""
    return home / "run" / "fences" / f"{name}.json"
