"""Find a source: the one way in for everything that users bring."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from darkroom.errors import BadRequest, SourceMissing, SourceNotAllowed
from darkroom.inputs import allowed, is_remote, local_path, local_roots, remote_allowed
from darkroom.paging import Paged, is_url, paged
from darkroom.settings import REPOSITORY
from darkroom.sources.files import KNOWN, SourceFile, format_of
from darkroom.sources.globs import is_glob, local_matches, matching, split_glob
from darkroom.store.storage import open_store


@dataclass(frozen=True)
class Source:
    """A source that may be read: files in the order of their names, or one folder of pictures."""

    uri: str
    roots: tuple[str, ...]
    files: tuple[SourceFile, ...] = ()
    folder: Path | None = None
    """Of pictures; every link and `..` of its path is resolved."""
    several: bool = False
    """Whether `uri` stands for any number of files: then rejects say which."""


def open_source(uri: str, roots: Sequence[str]) -> Source:
    """Find the source that `uri` names.

    Args:
        uri: a file of items, or a folder of pictures: a path, or `file://`. Or an object in a store, such
            as `s3://bucket/items.parquet`. Or a glob of files or objects, or a folder in a store, which
            stands for all below it. A relative path is looked up below each root and the repository; the
            first that exists counts.
        roots: folders, and URLs in stores, that sources may lie in.

    Raises:
        SourceNotAllowed: it lies outside every root, or is an HTTP API.
        SourceMissing: there is nothing.
        BadRequest: it is nothing that can be read as a source.
        StoreUnavailable: the object store does not answer.
    """
    if is_url(uri):
        raise SourceNotAllowed(
            f"source {uri.partition('?')[0]}: an HTTP API is read by runs of image_flow only"
        )
    if is_remote(uri):
        return _remote(uri, tuple(roots))
    path = local_path(uri)
    folders = [Path()] if path.is_absolute() else [*local_roots(roots), REPOSITORY]
    for folder in folders:
        try:
            found = _local(uri, folder / path, tuple(roots))
        except SourceNotAllowed:
            if folder == REPOSITORY:  # where most things are no sources: not there, then
                continue
            raise
        if found:
            return found
    what = "matches no file" if is_glob(str(path)) else "is not there"
    raise SourceMissing(f"source {uri} {what}; looked under {', '.join(roots) or 'no roots at all'}")


def look_up(uri: str, roots: Sequence[str], pages: Mapping[str, Paged]) -> None:
    """Refuse a source that a run could not read, as far as that is known before it runs.

    Args:
        uri: as `open_source` takes it, or the URL of an HTTP API.
        roots: as there.
        pages: the tables `[pages.<name>]`.

    Raises:
        BadRequest: as `open_source`; no table has a root that the URL lies under.
        StoreUnavailable: the object store does not answer.
    """
    if is_url(uri):
        paged_source(uri, pages)
    else:
        open_source(uri, roots)


def paged_source(url: str, pages: Mapping[str, Paged]) -> Paged:
    """The table that says how an HTTP source is read.

    Raises:
        SourceNotAllowed: there is none.
    """
    api = paged(url, pages)
    if api is None:
        roots = ", ".join(one.root for one in pages.values()) or "there is no table [pages.<name>]"
        raise SourceNotAllowed(
            f"source {url.partition('?')[0]} lies under no root of an HTTP source: {roots}; "
            "see docs/how-to/paged-sources.md"
        )
    return api


def from_here(uri: str) -> str:
    """What a person at the terminal means by `uri`: a path that exists as seen from here becomes absolute."""
    if is_remote(uri) or uri.startswith("file://"):
        return uri
    if _exists(Path(uri)):
        return str(Path(uri).resolve())
    if not is_glob(uri):
        return uri
    folder, pattern = split_glob(uri)
    return f"{Path(folder).resolve()}/{pattern}" if _exists(Path(folder)) else uri


def _local(uri: str, path: Path, roots: tuple[str, ...]) -> Source | None:
    if not is_glob(str(path)) or _exists(path):  # a name may hold a `?` or a `[`
        root, below = allowed(path, roots)
        real = root / below
        if not _exists(real):
            return None
        if real.is_dir():
            return Source(uri, roots, folder=real)
        return Source(uri, roots, (_file(uri, path.name, real, roots),))
    folder, pattern = split_glob(str(path))
    if ".." in pattern.split("/"):
        raise BadRequest(f"source {uri}: no '..' after a '*'")
    root, below = allowed(Path(folder), roots)
    try:
        names = sorted(local_matches(root / below, pattern))
    except OSError as error:  # such as a name that is too long
        raise BadRequest(f"source {uri} can't be looked up: {error}") from error
    files = [_file(uri, name, Path(*allowed(root / below / name, roots)), roots) for name in names]
    return Source(uri, roots, tuple(files), several=True) if files else None


def _remote(uri: str, roots: tuple[str, ...]) -> Source:
    if is_glob(uri):
        root, below = remote_allowed(uri, roots)
        folder, pattern = split_glob(below)
    else:
        # With a name below it, for the root itself may be the folder.
        root, below = remote_allowed(f"{uri.rstrip('/')}/*", roots)
        folder, pattern = below.removesuffix("*").rstrip("/"), "**"
        if folder and not uri.endswith("/") and open_store(root).exists(folder):
            name = folder.rpartition("/")[2]
            return Source(uri, roots, (_file(uri, name, uri, roots),))
    prefix = f"{folder}/" if folder else ""
    names = sorted(matching(_names(root, folder, prefix), pattern))
    if not names:
        raise SourceMissing(f"source {uri} matches no object")
    base = f"{root.rstrip('/')}/{prefix}"
    files = [_file(uri, name, base + name, roots) for name in names]
    return Source(uri, roots, tuple(files), several=True)


def _names(root: str, folder: str, prefix: str) -> Iterator[str]:
    """Objects below a folder; without what Spark leaves beside its data, such as `_SUCCESS`."""
    for path in open_store(root).list(folder):
        name = path.removeprefix(prefix)
        if not name.rpartition("/")[2].startswith("_"):
            yield name


def _file(uri: str, name: str, place: Path | str, roots: tuple[str, ...]) -> SourceFile:
    """One file of the source `uri`.

    Raises:
        BadRequest: it is none by its name, or not a regular file.
    """
    form = format_of(str(place))
    if form is None or (isinstance(place, Path) and not place.is_file()):
        which = uri if str(place).endswith(uri) else f"{uri}: {place}"
        raise BadRequest(f"source {which} is neither a folder nor a file whose name ends with {KNOWN}")
    return SourceFile(name, place, form, roots)


def _exists(path: Path) -> bool:
    with suppress(OSError, ValueError):  # a name that is too long, or holds a NUL
        return path.exists()
    return False
