"""Write-once object storage: local disk, S3, GCS, Azure, all through obstore.

Nothing is ever overwritten with other bytes: `create` is atomic, the first writer wins, a zombie changes
nothing. Nothing is removed but by `retention/`.
Source: https://developmentseed.org/obstore/latest/api/put/ (`mode="create"`).
"""

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self
from urllib.parse import urlparse

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore, from_url

from darkroom.errors import BadRequest
from darkroom.store.backend import Reader, calling, finding

if TYPE_CHECKING:
    from obstore import ObjectMeta

_PIECE_BYTES = 4 << 20
_IN_ONE_PIECE_BYTES = 64 << 20
"""What is held in memory at most, to be created if absent."""


@dataclass(frozen=True)
class Stat:
    """An object as it was when somebody looked."""

    size_bytes: int
    e_tag: str
    """Of its content, as the store has it; empty where it has none."""
    modified_s: float
    """Epoch seconds, by the store's clock."""

    @classmethod
    def of(cls, meta: "ObjectMeta") -> Self:
        """As obstore tells it."""
        return cls(int(meta["size"]), meta["e_tag"] or "", meta["last_modified"].timestamp())


@dataclass(frozen=True)
class Store:
    """A place for objects, addressed by relative paths such as `batches/b1/request.json`."""

    url: str
    backend: ObjectStore

    def create(self, path: str, data: bytes) -> bool:
        """Write `data` to `path` if nothing is there. True: written; False: it was there already.

        Over a network, False may also mean that an earlier try of this very call got through and its
        answer was lost: who must know, writes something of its own and reads it back.

        Raises:
            StoreUnavailable: the store refuses or does not answer.
        """
        with calling("write", self.uri(path)):
            try:
                obstore.put(self.backend, path, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def create_json(self, path: str, value: Any) -> bool:
        """`create` with `value` as JSON."""
        return self.create(path, json.dumps(value, ensure_ascii=False, indent=1).encode())

    def create_file(self, path: str, file: Path) -> None:
        """`create` with the content of `file`, which may be large.

        A store creates only what it gets in one piece. So more than that is uploaded where nothing is yet:
        only for a path whose writers all write the same, or one after the other.

        Raises:
            StoreUnavailable: the store refuses or does not answer.
        """
        if file.stat().st_size <= _IN_ONE_PIECE_BYTES:
            self.create(path, file.read_bytes())
        elif not self.exists(path):
            self.upload(path, file)

    def upload(self, path: str, file: Path) -> None:
        """Write the content of `file` to `path`, without holding it in memory; it appears there whole.

        This does not create, it writes: only for a path that nobody else writes, such as one in a
        generation of a manifest, whose number its writer has claimed. A large file goes up in parts (on
        local disk: to a file beside it, which is renamed), and a call that is repeated writes the same.

        Raises:
            StoreUnavailable: the store refuses or does not answer.
        """
        with calling("write", self.uri(path)):
            obstore.put(self.backend, path, file)

    def renew(self, path: str, data: bytes) -> None:
        """Write what lies at `path` once more, so that it is young by the store's clock: somebody uses it.

        Raises:
            StoreUnavailable: the store refuses or does not answer.
        """
        with calling("write", self.uri(path)):
            obstore.put(self.backend, path, data)

    def open(self, path: str) -> BinaryIO:
        """The object at `path` as a file to seek and read in, a range at a time.

        Raises:
            FileNotFoundError: nothing is there.
            StoreUnavailable: the store does not answer.
        """
        with finding("open", self.uri(path)):
            return io.BufferedReader(Reader(obstore.open_reader(self.backend, path)))

    def stream(self, path: str) -> Iterator[bytes]:
        """The bytes at `path`, a few MB at a time.

        Raises:
            FileNotFoundError: nothing is there.
            StoreUnavailable: the store does not answer.
        """
        with finding("read", self.uri(path)):
            for piece in obstore.get(self.backend, path).stream(min_chunk_size=_PIECE_BYTES):
                yield bytes(piece)

    def read(self, path: str) -> bytes:
        """The bytes at `path`.

        Raises:
            FileNotFoundError: nothing is there.
            StoreUnavailable: the store does not answer.
        """
        return self.read_written(path)[0]

    def read_written(self, path: str) -> tuple[bytes, float]:
        """`read`, with when it was written: epoch seconds, by the store's clock."""
        with finding("read", self.uri(path)):
            found = obstore.get(self.backend, path)
            return bytes(found.bytes()), found.meta["last_modified"].timestamp()

    def read_json(self, path: str) -> Any:
        """The JSON value at `path`."""
        return json.loads(self.read(path))

    def exists(self, path: str) -> bool:
        """Whether something is at `path`."""
        try:
            self.size(path)
        except FileNotFoundError:
            return False
        return True

    def size(self, path: str) -> int:
        """Bytes at `path`.

        Raises:
            FileNotFoundError: nothing is there.
            StoreUnavailable: the store does not answer.
        """
        return self.stat(path).size_bytes

    def stat(self, path: str) -> "Stat":
        """What is at `path`, so that a change can be told later.

        Raises:
            FileNotFoundError: nothing is there.
            StoreUnavailable: the store does not answer.
        """
        with finding("look at", self.uri(path)):
            return Stat.of(obstore.head(self.backend, path))

    def list(self, prefix: str) -> Iterator[str]:
        """The paths under the folder `prefix`, in no promised order.

        What a killed writer left half-written on local disk is not among them.
        """
        for path, _written in self.list_written(prefix):
            yield path

    def list_written(self, prefix: str) -> Iterator[tuple[str, float]]:
        """`list`, with when each was written: epoch seconds, by the store's clock."""
        for path, stat in self.list_stats(prefix):
            yield path, stat.modified_s

    def list_stats(self, prefix: str) -> Iterator[tuple[str, Stat]]:
        """`list`, with what `stat` says of each."""
        with calling("list", self.uri(prefix)):
            for page in obstore.list(self.backend, prefix):
                for meta in page:
                    yield meta["path"], Stat.of(meta)

    def folders(self, prefix: str) -> tuple[str, ...]:
        """The names of the folders right below the folder `prefix`, sorted; what is in them is not listed."""
        with calling("list", self.uri(prefix)):
            found = obstore.list_with_delimiter(self.backend, prefix)["common_prefixes"]
        return tuple(sorted(path.rstrip("/").rpartition("/")[2] for path in found))

    def uri(self, path: str) -> str:
        """The absolute URI of `path`, as results carry it."""
        return f"{self.url.rstrip('/')}/{path}"

    def path(self, uri: str) -> str:
        """The inverse of `uri`.

        Raises:
            ValueError: the URI is not in this store.
        """
        prefix = self.url.rstrip("/") + "/"
        if not uri.startswith(prefix):
            raise ValueError(f"{uri} is not under {prefix}")
        return uri.removeprefix(prefix)


@cache
def open_store(url: str) -> Store:
    """Open the store at `url`; credentials and endpoints come from the environment (`AWS_...` for S3).

    Raises:
        BadRequest: the URL names no kind of store, or the environment lacks what it needs.
    """
    if "://" not in url:
        raise BadRequest(f"the store {url!r} is no URL; for a folder write {Path(url).absolute().as_uri()}")
    try:
        if urlparse(url).scheme == "file":
            return Store(url, from_url(url, mkdir=True))
        return Store(url, from_url(url))
    except (BaseError, ValueError) as error:
        raise BadRequest(f"can't open the store {url!r}: {error}") from error


def sha256(data: bytes) -> str:
    """Hex SHA-256, as results carry it."""
    return hashlib.sha256(data).hexdigest()
