"""Whose turn it is to be a batch ahead, among the lanes that feed one server."""

import fcntl
from pathlib import Path
from types import TracebackType
from typing import IO, Self


class Turn:
    """Held by one lane of a server at a time, from when it is free to the end of that lane's chunk.

    Lanes that are served alike go in step: their chunks, of about the same size, end together, and the
    server idles until the next ones have begun. Who is a batch ahead is served twice as often and ends
    first, and the server always has a batch of it while the other lane is between two chunks.
    """

    def __init__(self, lock: Path | None) -> None:
        """A turn that is decided over the file `lock`; None: nobody is ever ahead."""
        self._lock = lock
        self._file: IO[str] | None = None
        self._mine = False

    def mine(self) -> bool:
        """Whether it is this lane's, now and until the end of the block."""
        if self._file and not self._mine:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, too
                self._mine = True
            except BlockingIOError:
                pass
        return self._mine

    def __enter__(self) -> Self:
        if self._lock:
            self._lock.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._lock.open("w")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            self._file.close()
