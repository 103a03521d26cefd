"""obstore, as the store calls it: with errors of ours, its files as Python's own, and never over a fork."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from obstore.exceptions import BaseError, NotFoundError

from darkroom.errors import StoreUnavailable

if TYPE_CHECKING:
    from obstore import ReadableFile


@contextmanager
def calling(verb: str, uri: str) -> Iterator[None]:
    """Around calls of obstore that do something to `uri`.

    Raises:
        StoreUnavailable: the store refuses or does not answer.
    """
    _refuse_fork()
    try:
        yield
    except (BaseError, OSError) as error:
        raise StoreUnavailable(f"can't {verb} {uri}: {error}") from error


@contextmanager
def finding(verb: str, uri: str) -> Iterator[None]:
    """`calling`, where there may be nothing.

    Raises:
        FileNotFoundError: nothing is there.
        StoreUnavailable: the store does not answer.
    """
    _refuse_fork()
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise FileNotFoundError(uri) from error
    except (BaseError, OSError) as error:
        raise StoreUnavailable(f"can't {verb} {uri}: {error}") from error


class Reader(io.RawIOBase):
    """obstore's reader, as Python's own files are: it lacks what `io` and pyarrow ask of one."""

    def __init__(self, file: "ReadableFile") -> None:
        self._file = file

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`, or as much of it as there is; how many bytes that is."""
        data = self._file.read(len(buffer))
        buffer[: len(data)] = memoryview(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, as other files do."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """The position, in bytes."""
        return self._file.tell()


_user_pid: int | None = None


def _refuse_fork() -> None:
    """Fail where obstore would hang for ever: in the child of a process that has used it.

    Its threads do not survive a fork. Use the store in the processes that do the work, and start those
    from one that does not (or by `spawn`).
    """
    global _user_pid  # noqa: PLW0603 - one runtime in a process, as obstore has it
    if _user_pid is None:
        _user_pid = os.getpid()
    elif _user_pid != os.getpid():
        raise RuntimeError(
            f"process {os.getpid()} was forked from {_user_pid}, which had used the store already"
        )
