"""Files that users name: opened only under allowed roots, never through a link that leads out of them.

A root is a local folder (a path or `file://`) or a URL of an object store (`s3://bucket/prefix`).
"""

import errno
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlparse

from darkroom.errors import InvalidImage, InvalidItem, SourceNotAllowed, StoreUnavailable
from darkroom.store.storage import open_store

MAX_INPUT_BYTES = 64 << 20
"""A larger picture is refused before it is read."""
_HELD = r"/batches/[A-Za-z0-9][A-Za-z0-9._-]*/(then)/([A-Za-z0-9][A-Za-z0-9._-]*/)*[A-Za-z0-9._-]+"


def read_input(uri: str, roots: Sequence[str]) -> bytes:
    """The bytes of an item's picture.

    Args:
        uri: `file://...`, an absolute path, or a URI in an object store.
        roots: what may be read; nothing else is.

    Raises:
        InvalidItem: it lies outside the roots, or is not there.
        InvalidImage: it is larger than `MAX_INPUT_BYTES`, or not a regular file.
        StoreUnavailable: the disk or the object store does not answer.
    """
    try:
        if is_remote(uri):
            data = _read_remote(uri, roots)
        else:
            with open_allowed(local_path(uri), roots) as file:
                data = file.read(MAX_INPUT_BYTES + 1)
    except SourceNotAllowed as error:
        raise InvalidItem(f"image: {error}") from error
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        raise InvalidItem(f"image {uri} is not there or can't be read") from error
    except IsADirectoryError as error:
        raise InvalidImage(f"image {uri} is not a regular file") from error
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
            raise InvalidItem(f"image {uri} can't be looked up: {error.strerror}") from error
        raise StoreUnavailable(f"can't read {uri}: {error}") from error
    if len(data) > MAX_INPUT_BYTES:
        raise InvalidImage(f"image {uri} is larger than {MAX_INPUT_BYTES >> 20} MB")
    return data


def held_in(store_url: str) -> str:
    """A regular expression for the sources that the store itself holds: lists of items that a batch left."""
    return re.escape(store_url.rstrip("/")) + _HELD


def roots_of(source: str, roots: Sequence[str], store_url: str) -> list[str]:
    """What may be read for a source: of one that the store itself holds, the store's pictures, too.

    Only Darkroom writes there, so what such a list names is what a batch made; no list of a user's may
    name it.
    """
    held = re.fullmatch(held_in(store_url), source)
    if held is None:
        return [*roots]
    store = store_url.rstrip("/")
    return [*roots, source.partition(f"/{held[1]}/")[0] + f"/{held[1]}", f"{store}/images"]


def is_remote(uri: str) -> bool:
    """Whether `uri` names an object store."""
    return "://" in uri and not uri.startswith("file://")


def local_path(uri: str) -> Path:
    """The path that a `file://` URI, or a path as it stands, names; relative ones stay so.

    Raises:
        SourceNotAllowed: the URI names a host, or holds a NUL.
    """
    path = uri
    if uri.startswith("file://"):
        parts = urlparse(uri)
        if parts.netloc not in ("", "localhost"):
            raise SourceNotAllowed(f"{uri} names the host {parts.netloc!r}; only files of this one are read")
        # What follows '?' or '#' is part of the name: nothing else makes sense of a file's.
        path = unquote(uri.removeprefix("file://").removeprefix(parts.netloc))
    if "\0" in path:
        raise SourceNotAllowed("a path can't hold a NUL byte")
    return Path(path)


def local_roots(roots: Sequence[str]) -> list[Path]:
    """The local ones among the roots, links resolved."""
    return [Path(os.path.realpath(local_path(root))) for root in roots if root and not is_remote(root)]


def allowed(path: Path, roots: Sequence[str]) -> tuple[Path, Path]:
    """The root that `path` lies under and its place below it, every link and `..` resolved.

    Says nothing of whether it exists, so that a refusal does not tell what lies outside.

    Raises:
        SourceNotAllowed: no root holds it.
    """
    real = Path(os.path.realpath(path))
    for root in local_roots(roots):
        if real.is_relative_to(root):
            return root, real.relative_to(root)
    raise SourceNotAllowed(f"{path} lies outside the allowed roots: {', '.join(roots) or 'there are none'}")


def open_allowed(path: Path, roots: Sequence[str]) -> BinaryIO:
    """Open a regular file under a root.

    Opened folder by folder without following links: one put in place after the check changes nothing.

    Raises:
        SourceNotAllowed: no root holds it.
        IsADirectoryError: it is a folder, a device or a pipe.
        StoreUnavailable: this host does not have the root.
        OSError: it can't be opened.
    """
    root, below = allowed(path, roots)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe must not hang us
    try:
        handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError as error:  # the host's fault, not the item's: another host may see it
        raise StoreUnavailable(f"the root {root}, under which {path} lies, is not on this host") from error
    for part in below.parts:
        try:
            inner = os.open(part, flags, dir_fd=handle)
        finally:
            os.close(handle)
        handle = inner
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise IsADirectoryError(f"{path} is not a regular file")
    return os.fdopen(handle, "rb")


def remote_allowed(uri: str, roots: Sequence[str]) -> tuple[str, str]:
    """The root that a URI in an object store lies under, and its path below it.

    Raises:
        SourceNotAllowed: no root holds it.
    """
    for root in roots:
        prefix = root.rstrip("/") + "/"
        below = uri.removeprefix(prefix)
        if is_remote(root) and below != uri and not {"", ".", ".."} & set(below.split("/")):
            return root, below
    raise SourceNotAllowed(f"{uri} lies outside the allowed roots: {', '.join(roots) or 'there are none'}")


def _read_remote(uri: str, roots: Sequence[str]) -> bytes:
    root, below = remote_allowed(uri, roots)
    store = open_store(root)
    if store.size(below) > MAX_INPUT_BYTES:
        raise InvalidImage(f"image {uri} is larger than {MAX_INPUT_BYTES >> 20} MB")
    return store.read(below)
