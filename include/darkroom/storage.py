"""Write-once object storage: local disk, S3, GCS, Azure, all through obstore.

Nothing is ever overwritten: `create` is atomic, the first writer wins, a zombie changes nothing.
Source: https://developmentseed.org/obstore/latest/api/put/ (`mode="create"`).
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlparse

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import ObjectStore, from_url

from darkroom.errors import StoreUnavailable


@dataclass(frozen=True)
class Store:
    """A place for objects, addressed by relative paths such as `batches/b1/request.json`."""

    url: str
    backend: ObjectStore

    def create(self, path: str, data: bytes) -> bool:
        """Write `data` to `path` if nothing is there. True: written; False: it was there already.

        Raises:
            StoreUnavailable: the store refuses or does not answer.
        """
        try:
            obstore.put(self.backend, path, data, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"can't write {self.uri(path)}: {error}") from error
        return True

    def create_json(self, path: str, value: Any) -> bool:
        """`create` with `value` as JSON."""
        return self.create(path, json.dumps(value, ensure_ascii=False, indent=1).encode())

    def read(self, path: str) -> bytes:
        """The bytes at `path`.

        Raises:
            FileNotFoundError: nothing is there.
            StoreUnavailable: the store does not answer.
        """
        try:
            return bytes(obstore.get(self.backend, path).bytes())
        except (NotFoundError, FileNotFoundError) as error:
            raise FileNotFoundError(self.uri(path)) from error
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"can't read {self.uri(path)}: {error}") from error

    def read_json(self, path: str) -> Any:
        """The JSON value at `path`."""
        return json.loads(self.read(path))

    def exists(self, path: str) -> bool:
        """Whether something is at `path`."""
        try:
            obstore.head(self.backend, path)
        except (NotFoundError, FileNotFoundError):
            return False
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"can't look at {self.uri(path)}: {error}") from error
        return True

    def list(self, prefix: str) -> Iterator[str]:
        """The paths under `prefix`, in lexical order within what the backend gives."""
        try:
            for page in obstore.list(self.backend, prefix):
                for meta in page:
                    yield meta["path"]
        except (BaseError, OSError) as error:
            raise StoreUnavailable(f"can't list {self.uri(prefix)}: {error}") from error

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
    """Open the store at `url`; credentials come from the environment as obstore documents."""
    if urlparse(url).scheme == "file":
        return Store(url, from_url(url, mkdir=True))
    return Store(url, from_url(url))


def sha256(data: bytes) -> str:
    """Hex SHA-256, as results carry it."""
    return hashlib.sha256(data).hexdigest()
