"""The bytes of a file as they come: hashed, counted, unpacked; never more than a block at once."""

import bz2
import gzip
import hashlib
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol

from darkroom.errors import SourceChanged, StoreUnavailable

BLOCK_BYTES = 1 << 20
XZ_MEMORY_BYTES = 256 << 20
"""What unpacking an `.xz` may take: `xz -9` asks for 65 MB; a file that asks for more is refused."""
COMPRESSIONS = (".gz", ".zst", ".bz2", ".xz")
BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError)
"""What a compressed file raises that is cut off or damaged."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Stream(io.RawIOBase):
    """A stream of bytes that says only how the next ones are had."""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as the next bytes go."""
        data = self._take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _take(self, size: int) -> bytes:
        """From 1 to `size` bytes; none at the end."""
        raise NotImplementedError


class Metered(_Stream):
    """Hands bytes on, and remembers how many there were and their SHA-256."""

    def __init__(self, file: _Readable, on_bytes: Callable[[int], None] | None = None) -> None:
        """Read from `file`; `on_bytes` is told the length of each block."""
        self._file, self._on_bytes, self._digest = file, on_bytes, hashlib.sha256()
        self.size_bytes = 0

    def _take(self, size: int) -> bytes:
        try:
            data = self._file.read(size)
        except FileNotFoundError as error:
            raise SourceChanged(f"the source is gone while it is read: {error}") from error
        except OSError as error:  # not the file's fault: what unpacks it must not take it for damage
            raise StoreUnavailable(f"can't read the source: {error}") from error
        self._digest.update(data)
        self.size_bytes += len(data)
        if self._on_bytes and data:
            self._on_bytes(len(data))
        return data

    @property
    def sha256(self) -> str:
        """Of what was read so far."""
        return self._digest.hexdigest()


class Told(_Stream):
    """A file to seek in, that says how much of it is being read."""

    def __init__(self, file: BinaryIO, on_bytes: Callable[[int], None]) -> None:
        """Read from `file`; `on_bytes` is told the length of each piece."""
        self._file, self._on_bytes = file, on_bytes

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """As the file does."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """As the file does."""
        return self._file.tell()

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        self._on_bytes(len(data))
        return data


class Blocks(_Stream):
    """A file made of the blocks that an object store sends."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        """Read `blocks` in their order."""
        self._blocks, self._rest = blocks, memoryview(b"")

    def _take(self, size: int) -> bytes:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return b""
            self._rest = memoryview(block)
        part = bytes(self._rest[:size])
        self._rest = self._rest[size:]
        return part


def unpacked(file: io.RawIOBase, compression: str | None) -> BinaryIO:
    """What the compressed `file` holds, as a stream; one of `BROKEN` is raised where it is damaged."""
    raw: Any
    match compression:
        case None:
            raw = file
        case ".gz":
            raw = gzip.GzipFile(fileobj=io.BufferedReader(file, BLOCK_BYTES), mode="rb")
        case ".bz2":
            raw = bz2.BZ2File(io.BufferedReader(file, BLOCK_BYTES))
        case ".xz":
            raw = _Xz(file)
        case ".zst":
            raw = _Zstd(file)
        case _:
            raise ValueError(f"no such compression: {compression}")
    # Whatever it is, its lines are found in C.
    return io.BufferedReader(raw, BLOCK_BYTES)


class _Xz(_Stream):
    """An `.xz` stream with a limit of memory, which `lzma.LZMAFile` has none of."""

    def __init__(self, file: io.RawIOBase) -> None:
        self._file = io.BufferedReader(file, BLOCK_BYTES)
        self._begin()

    def _begin(self) -> None:
        self._decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY_BYTES)
        self._begun = False

    def _take(self, size: int) -> bytes:
        while True:
            unused = b""
            if self._decompressor.eof:
                unused = self._decompressor.unused_data.lstrip(b"\0")  # padding between streams
                self._begin()
            data = unused
            if not data and self._decompressor.needs_input:
                data = self._file.read1(BLOCK_BYTES)
                if not self._begun:
                    data = data.lstrip(b"\0")
                if not data:
                    if self._begun:
                        raise EOFError("it ends before its end-of-stream marker")
                    return b""
            self._begun = True
            if part := self._decompressor.decompress(data, max_length=size):
                return part


class _Zstd(_Stream):
    """A `.zst` stream, by pyarrow; its window is at most 128 MB (the library's limit)."""

    def __init__(self, file: io.RawIOBase) -> None:
        import pyarrow as pa  # noqa: PLC0415

        self._file = pa.CompressedInputStream(
            pa.PythonFile(io.BufferedReader(file, BLOCK_BYTES), "r"), "zstd"
        )

    def _take(self, size: int) -> bytes:
        return bytes(self._file.read(size))
