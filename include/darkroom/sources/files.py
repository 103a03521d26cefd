"""One file of a source: what its name says it is, where it lies, and whether it is still the same."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from darkroom.errors import SourceChanged
from darkroom.inputs import open_allowed, remote_allowed
from darkroom.sources.streams import BLOCK_BYTES, COMPRESSIONS, Blocks, Metered
from darkroom.store.storage import open_store

Kind = Literal["jsonl", "csv", "parquet"]
_KINDS: dict[str, Kind] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet"}
KNOWN = f"{', '.join(_KINDS)}, or one of the first three followed by {', '.join(COMPRESSIONS)}"
"""For messages: how the name of a source ends."""


@dataclass(frozen=True)
class Format:
    """What a file holds, and how it is packed."""

    kind: Kind
    compression: str | None = None


def format_of(name: str) -> Format | None:
    """What a file is by its name; None: no source. Parquet is packed inside, never as a whole."""
    *before, last = ["", *(suffix.lower() for suffix in PurePosixPath(name).suffixes)]
    if last in COMPRESSIONS:
        kind = _KINDS.get(before[-1])
        return Format(kind, last) if kind and kind != "parquet" else None
    kind = _KINDS.get(last)
    return Format(kind) if kind else None


@dataclass(frozen=True)
class SourceFile:
    """A file on local disk (every link and `..` of its path resolved) or an object in a store."""

    name: str
    """As rejects and messages carry it: what tells it from the source's other files."""
    place: Path | str
    """A path, or the URI of an object."""
    format: Format
    roots: tuple[str, ...]

    @property
    def folder(self) -> Path | str:
        """What paths in the file are relative to."""
        return self.place.parent if isinstance(self.place, Path) else self.place.rpartition("/")[0]

    def size_bytes(self) -> int:
        """How long it is now.

        Raises:
            FileNotFoundError: it is gone.
            StoreUnavailable: the store does not answer.
        """
        if isinstance(self.place, Path):
            return self.place.stat().st_size
        root, below = remote_allowed(self.place, self.roots)
        return open_store(root).size(below)

    def opened(self, on_bytes: Callable[[int], None]) -> "OpenedFile":
        """Open it to be read once, from its first byte to its last.

        Raises:
            SourceChanged: it is gone.
            StoreUnavailable: the disk or the store does not answer.
        """
        try:
            if isinstance(self.place, Path):
                return _LocalFile(self, self.place, on_bytes)
            return _RemoteFile(self, self.place, on_bytes)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise SourceChanged(f"{self.place} was there and is no more: {error}") from error


class OpenedFile:
    """The bytes of a file, once; then whether they are still its bytes."""

    bytes: Metered

    def __init__(self, file: SourceFile) -> None:
        """Of `file`."""
        self.file = file

    def must_be_same(self, *, whole: bool) -> None:
        """Refuse a file that somebody wrote to, or replaced, since it was opened.

        Args:
            whole: all of `bytes` have been read.

        Raises:
            SourceChanged: so it is.
        """
        length = self.bytes.size_bytes if whole else None
        if self._changed(length):
            raise SourceChanged(
                f"{self.file.place} changed while it was read; start again when nobody writes to it"
            )

    def seekable(self) -> BinaryIO:
        """The file to seek in, after one pass for its `bytes`."""
        raise NotImplementedError

    def close(self) -> None:
        """Done with it."""
        raise NotImplementedError

    def _changed(self, length: int | None) -> bool:
        raise NotImplementedError


class _LocalFile(OpenedFile):
    def __init__(self, file: SourceFile, path: Path, on_bytes: Callable[[int], None]) -> None:
        super().__init__(file)
        self._path = path
        self._file: BinaryIO = open_allowed(path, file.roots)
        self.bytes = Metered(self._file, None if file.format.kind == "parquet" else on_bytes)
        self._was = _state(os.fstat(self._file.fileno()))

    def seekable(self) -> BinaryIO:
        while self.bytes.read(BLOCK_BYTES):
            pass
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        self._file.close()

    def _changed(self, length: int | None) -> bool:
        try:
            now = _state(self._path.stat())
        except OSError:
            return True
        # The length once more: a file may grow within one tick of the clock that stamps it.
        return now != self._was or length not in (None, self._was[2])


def _state(stat: os.stat_result) -> tuple[int, int, int, int]:
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


class _RemoteFile(OpenedFile):
    def __init__(self, file: SourceFile, uri: str, on_bytes: Callable[[int], None]) -> None:
        super().__init__(file)
        root, self._below = remote_allowed(uri, file.roots)
        self._store = open_store(root)
        self._was = self._store.stat(self._below)
        self._copy: BinaryIO | None = None
        self.bytes = Metered(
            Blocks(self._store.stream(self._below)), None if file.format.kind == "parquet" else on_bytes
        )

    def seekable(self) -> BinaryIO:
        self._copy = tempfile.TemporaryFile(prefix="darkroom-")  # noqa: SIM115 - closed with the object
        while block := self.bytes.read(BLOCK_BYTES):
            self._copy.write(block)
        self._copy.seek(0)
        return self._copy

    def close(self) -> None:
        if self._copy:
            self._copy.close()

    def _changed(self, length: int | None) -> bool:
        try:
            now = self._store.stat(self._below)
        except FileNotFoundError:
            return True
        return now != self._was or length not in (None, self._was.size_bytes)
