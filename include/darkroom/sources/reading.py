"""One pass over a source: each line once, and a fingerprint of what was read."""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, cast

from darkroom.errors import BadRequest, SourceChanged
from darkroom.flows import Flow
from darkroom.records import Item, Reject
from darkroom.sources.base import Source
from darkroom.sources.csv_rows import read_csv
from darkroom.sources.files import OpenedFile, SourceFile
from darkroom.sources.folder import listing, read_folder
from darkroom.sources.jsonl_lines import read_jsonl
from darkroom.sources.lines import Checker, Found
from darkroom.sources.parquet_rows import read_parquet
from darkroom.sources.streams import BLOCK_BYTES, BROKEN, Told, unpacked

SourceLine = tuple[int, int, Item | Reject]
"""Number of the file in the source, number of the line in the file (from 1), and what the line is."""
OnProgress = Callable[[int, int | None], None]
"""Told how many bytes have been read, and of how many; None: nobody knows."""


def read(source: Source, flow: Flow, on_progress: OnProgress | None = None) -> "Reading":
    """Begin to read a source for a flow.

    Raises:
        BadRequest: the source as a whole can't be read for this flow.
    """
    if source.folder and flow.takes != "image":
        raise BadRequest(
            f"{source.folder} is a folder of pictures; flow {flow.name} takes prompts, from a file"
        )
    return Reading(source, flow, on_progress)


class Reading:
    """The lines of a source in their order, once; then its fingerprint.

    Iterating raises:
        BadRequest: a file as a whole is none: without a header, cut off, damaged.
        SourceChanged: somebody wrote to it meanwhile.
        StoreUnavailable: the disk or the store does not answer.
    """

    def __init__(self, source: Source, flow: Flow, on_progress: OnProgress | None) -> None:
        """Of `source`, for `flow`."""
        self._source, self._flow, self._on_progress = source, flow, on_progress
        self._read_bytes = 0
        self._total_bytes: int | None = None
        self._fingerprint: str | None = None

    @property
    def fingerprint(self) -> str:
        """What was read, as text: of a file its bytes, of a folder its names and sizes.

        Without the time of change: a copy, a checkout or a `touch` is the same source.

        Raises:
            RuntimeError: it has not been read to its end.
        """
        if self._fingerprint is None:
            raise RuntimeError("read the source to its end first")
        return self._fingerprint

    def name(self, file: int) -> str | None:
        """The name of a file by its number, where the source may have several."""
        return self._source.files[file].name if self._source.several else None

    def __iter__(self) -> Iterator[SourceLine]:
        """Read it."""
        source = self._source
        if source.folder:
            yield from self._folder(source.folder)
            return
        try:
            self._total_bytes = sum(file.size_bytes() for file in source.files)
        except FileNotFoundError as error:
            raise SourceChanged(f"a file of {source.uri} is gone: {error}") from error
        prints = []
        for number, file in enumerate(source.files):
            with closing(file.opened(self._progressed)) as opened:
                name = self.name(number)
                for line, found in self._file(file, opened):
                    yield number, line, found if isinstance(found, Item) else found.reject(line, name)
                opened.must_be_same(whole=True)
                prints.append((file, opened.bytes.size_bytes, opened.bytes.sha256))
        if source.several:
            digest = hashlib.sha256()
            for file, size, sha256 in prints:
                digest.update(f"{file.name}\0{size}\0{sha256}\0".encode(errors="surrogateescape"))
            self._fingerprint = f"files:{sum(size for _, size, _ in prints)}:{digest.hexdigest()}"
        else:
            (file, size, sha256), *_ = prints
            self._fingerprint = f"{file.format.kind}:{size}:{sha256}"

    def _file(self, file: SourceFile, opened: OpenedFile) -> Iterator[Found]:
        """The lines of one file, all its bytes read; whatever is wrong with it as a whole names it."""
        checker = Checker(self._flow, file.folder, self._source.roots)
        line = 0
        try:
            if file.format.kind == "parquet":
                told = cast("BinaryIO", Told(opened.seekable(), self._progressed))
                yield from read_parquet(told, checker)
                return
            stream = unpacked(opened.bytes, file.format.compression)
            for found in (read_csv if file.format.kind == "csv" else read_jsonl)(stream, checker):
                line = found[0]
                yield found
            while opened.bytes.read(BLOCK_BYTES):  # what follows the end that the format knows of
                pass
            if file.format.compression and not opened.bytes.size_bytes:
                raise EOFError("it is empty")
        except BadRequest as error:
            opened.must_be_same(whole=False)
            if type(error) is not BadRequest:
                raise
            raise BadRequest(f"source {file.place}: {error}") from error
        except BROKEN as error:
            opened.must_be_same(whole=False)
            raise BadRequest(
                f"source {file.place} is cut off or damaged after line {line:,}: {error}"
            ) from error

    def _progressed(self, n_bytes: int) -> None:
        self._read_bytes += n_bytes
        if self._on_progress:
            total = self._total_bytes
            self._on_progress(min(self._read_bytes, total or self._read_bytes), total)

    def _folder(self, folder: Path) -> Iterator[SourceLine]:
        seen = _FolderPrint()

        def on_file(path: Path, length: int) -> None:
            seen.add(path, length)
            self._progressed(length)

        try:
            for line, found in read_folder(folder, Checker(self._flow, folder, self._source.roots), on_file):
                yield 0, line, found if isinstance(found, Item) else found.reject(line)
            again = _FolderPrint()
            for path in listing(folder):
                again.add(path, (folder / path).lstat().st_size)
        except FileNotFoundError as error:
            raise SourceChanged(f"{folder} changed while it was read: {error}") from error
        if str(again) != str(seen):
            raise SourceChanged(f"{folder} changed while it was read; start again when nobody writes to it")
        self._fingerprint = str(seen)


class _FolderPrint:
    """What a folder is: the names and sizes of its files."""

    def __init__(self) -> None:
        self._digest, self._size_bytes = hashlib.sha256(), 0

    def add(self, path: Path, length: int) -> None:
        """The next file."""
        self._digest.update(os.fsencode(path) + b"\0" + str(length).encode() + b"\0")
        self._size_bytes += length

    def __str__(self) -> str:
        return f"folder:{self._size_bytes}:{self._digest.hexdigest()}"
