"""Whether the partition of a day is there to be read."""

from collections.abc import Sequence
from pathlib import Path

from darkroom.errors import SourceMissing, SourceNotAllowed
from darkroom.inputs import is_remote, local_path, local_roots, open_allowed, remote_allowed
from darkroom.paging import is_url
from darkroom.settings import REPOSITORY
from darkroom.sources import open_source
from darkroom.store.storage import open_store


def is_there(source: str, marker: str | None, roots: Sequence[str]) -> bool:
    """Whether a partition is complete: its marker says so, or, where none is named, the source is there.

    Args:
        source: as `open_source` takes it: a file or a folder that exists, a glob that matches, a prefix with
            objects below it. An HTTP source is taken to be there: who asks it, fetches it.
        marker: a file, looked up as a source is; None: the source itself.
        roots: that both may lie in.

    Raises:
        SourceNotAllowed: either lies outside every root.
        BadRequest: the source is nothing that can be read as one.
        StoreUnavailable: the object store does not answer.
    """
    if marker is not None:
        return _file_there(marker, roots)
    if is_url(source):
        return True
    try:
        open_source(source, roots)
    except SourceMissing:
        return False
    return True


def _file_there(uri: str, roots: Sequence[str]) -> bool:
    if is_remote(uri):
        root, below = remote_allowed(uri, roots)
        return open_store(root).exists(below)
    path = local_path(uri)
    for folder in [Path()] if path.is_absolute() else [*local_roots(roots), REPOSITORY]:
        try:
            open_allowed(folder / path, roots).close()
        except SourceNotAllowed:
            if folder != REPOSITORY:  # where most things are no sources: not there, then
                raise
        except OSError:
            continue
        else:
            return True
    return False
