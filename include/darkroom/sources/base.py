"""Find a source, and read it: the one way in for everything that users bring."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from darkroom.errors import BadRequest, SourceNotAllowed
from darkroom.flows import Flow
from darkroom.inputs import allowed, is_remote, local_path, local_roots, open_allowed
from darkroom.settings import REPOSITORY
from darkroom.sources.csv_rows import read_csv
from darkroom.sources.folder import listing, read_folder
from darkroom.sources.jsonl_lines import read_jsonl
from darkroom.sources.lines import Checker, SourceLine

Kind = Literal["jsonl", "csv", "folder"]
_KINDS: dict[str, Kind] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv"}


@dataclass(frozen=True)
class Source:
    """A source that may be read: every link and `..` of its path is resolved."""

    path: Path
    kind: Kind
    roots: tuple[str, ...]


def open_source(uri: str, roots: Sequence[str]) -> Source:
    """Find the source that `uri` names.

    Args:
        uri: a `.jsonl`, `.ndjson` or `.csv` file or a folder of pictures: a path, or `file://`. A relative
            path is looked up below the repository and below each root; the first that exists counts.
        roots: folders that sources may lie in.

    Raises:
        SourceNotAllowed: it lies outside every root.
        BadRequest: there is nothing, or nothing that can be read as a source.
    """
    if is_remote(uri):
        raise BadRequest(
            f"source {uri}: only local files and folders can be sources, under {', '.join(roots)}"
        )
    path = local_path(uri)
    folders = [Path()] if path.is_absolute() else [*local_roots(roots), REPOSITORY]
    for folder in folders:
        try:
            root, below = allowed(folder / path, roots)
        except SourceNotAllowed:
            if folder == REPOSITORY:  # where most things are no sources: not there, then
                continue
            raise
        with suppress(OSError):  # such as a name that is too long
            if (root / below).exists():
                return Source(root / below, _kind(uri, root / below), tuple(roots))
    raise BadRequest(f"source {uri} is not there; looked under {', '.join(roots) or 'no roots at all'}")


def read(source: Source, flow: Flow) -> Iterator[SourceLine]:
    """The items of a source in its order, and a `Reject` for each line that is none.

    Raises:
        BadRequest: the source as a whole can't be read for this flow.
    """
    if source.kind == "folder" and flow.takes != "image":
        raise BadRequest(
            f"{source.path} is a folder of pictures; flow {flow.name} takes prompts, from a file"
        )
    return _read(source, flow)


def _read(source: Source, flow: Flow) -> Iterator[SourceLine]:
    if source.kind == "folder":
        yield from read_folder(source.path, Checker(flow, source.path, source.roots))
        return
    checker = Checker(flow, source.path.parent, source.roots)
    with open_allowed(source.path, source.roots) as file:
        yield from (read_csv if source.kind == "csv" else read_jsonl)(file, checker)


def fingerprint(source: Source) -> str:
    """What the source is now, as text: of a file its bytes, of a folder its names and sizes.

    Without the time of change: a copy, a checkout or a `touch` is the same source.
    """
    digest = hashlib.sha256()
    size = 0
    if source.kind == "folder":
        for path in listing(source.path):
            length = (source.path / path).lstat().st_size
            digest.update(os.fsencode(path) + b"\0" + str(length).encode() + b"\0")
            size += length
    else:
        with open_allowed(source.path, source.roots) as file:
            while block := file.read(1 << 20):
                digest.update(block)
                size += len(block)
    return f"{source.kind}:{size}:{digest.hexdigest()}"


def _kind(uri: str, path: Path) -> Kind:
    if path.is_dir():
        return "folder"
    kind = _KINDS.get(path.suffix.lower())
    if kind is None or not path.is_file():
        raise BadRequest(f"source {uri} is neither a folder nor a file with one of {', '.join(_KINDS)}")
    return kind
