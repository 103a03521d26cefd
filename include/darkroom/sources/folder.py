"""A folder of pictures: each file is an item, its path below the folder is its `custom_id`."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from darkroom.sources.lines import BadLine, Checker, Found

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif"})
"""What the first stage of a flow can decode; `enhance` looks at the bytes again."""


def listing(folder: Path) -> Iterator[Path]:
    """Paths below the folder, relative to it: files in the order of their names, then its folders.

    Hidden files and folders are skipped. Links to folders are given as if they were files, never entered.
    """

    def walk(below: Path) -> Iterator[Path]:
        with os.scandir(folder / below) as entries:
            visible = sorted(
                (entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name
            )
        folders = [entry.name for entry in visible if entry.is_dir(follow_symlinks=False)]
        inner = set(folders)
        yield from (below / entry.name for entry in visible if entry.name not in inner)
        for name in folders:
            yield from walk(below / name)

    yield from walk(Path())


def read_folder(folder: Path, checker: Checker, on_file: Callable[[Path, int], None]) -> Iterator[Found]:
    """One line per visible file; what is no picture is a reject, so that nothing is lost silently.

    Raises:
        OSError: a file or a folder is gone since it was listed.
    """
    for number, path in enumerate(listing(folder), start=1):
        custom_id = path.as_posix()
        on_file(path, (folder / path).lstat().st_size)
        try:
            if path.suffix.lower() not in SUFFIXES:
                known = ", ".join(sorted(SUFFIXES))
                raise BadLine("image", f"not a picture by its suffix; known are {known}", custom_id)
            # As a URI, for a file may be called `a%20b.png` or `s3://b`.
            image = (folder / path).absolute().as_uri()
            item = checker.item({"custom_id": custom_id, "image": image}, strict=True)
        except BadLine as bad:
            yield number, bad
        else:
            yield number, item
